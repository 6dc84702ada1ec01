//! The nodes of the network in an SQLite file.
//!
//! One row per node, keyed by its identity. The file is in write-ahead mode and synchronised at
//! every commit: an announcement that was answered survives a crash of the program and of the
//! machine.

use std::path::Path;
use std::time::Duration;

use nym_protocol::validator::announcement::{AnnouncedNode, VerifiedAnnouncement};
use nym_protocol::validator::bond::Coin;
use nym_protocol::validator::registry::{Announced, RegistryError};
use nym_protocol::validator::{GatewayBond, Layer, LayerDistribution, MixNodeBond, Registry};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::de::DeserializeOwned;

/// The layout of the tables; a file with another number was made by another version.
const SCHEMA_VERSION: i64 = 1;

/// How long to wait for another program that has the file open.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// `layer` of a gateway's row; mix nodes have 1 to 3.
const GATEWAY_LAYER: u8 = 0;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS nodes (
        identity     TEXT    NOT NULL PRIMARY KEY,  -- base58
        layer        INTEGER NOT NULL,              -- 1 to 3; 0 for a gateway
        node         TEXT    NOT NULL,              -- what it says about itself, JSON
        announced_at INTEGER NOT NULL               -- seconds since 1970, by its own clock
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS nodes_by_layer ON nodes (layer, identity);
    CREATE INDEX IF NOT EXISTS nodes_by_age ON nodes (announced_at);
";

/// What can go wrong in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A row does not hold what this program writes.
    #[error("the stored node {identity} is damaged")]
    Damaged {
        /// Its identity key.
        identity: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file was made by another version of this program.
    #[error("the file has layout {found}, this program knows {SCHEMA_VERSION}")]
    Layout {
        /// The number in the file.
        found: i64,
    },
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// The nodes in an SQLite file.
#[derive(Debug)]
pub struct SqliteRegistry {
    connection: Connection,
    node_count_max: u32,
}

impl SqliteRegistry {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// [`StorageError::Layout`] for the file of another version, else [`StorageError::Sqlite`].
    pub fn open(path: &Path, node_count_max: u32) -> Result<Self, StorageError> {
        Self::with_connection(Connection::open(path)?, node_count_max)
    }

    /// Nodes in memory, for tests.
    ///
    /// # Errors
    ///
    /// [`StorageError::Sqlite`].
    pub fn in_memory(node_count_max: u32) -> Result<Self, StorageError> {
        Self::with_connection(Connection::open_in_memory()?, node_count_max)
    }

    fn with_connection(connection: Connection, node_count_max: u32) -> Result<Self, StorageError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found != 0 && found != SCHEMA_VERSION {
            return Err(StorageError::Layout { found });
        }
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        Ok(Self {
            connection,
            node_count_max,
        })
    }

    /// Nodes of one kind, with their layers, sorted by identity.
    fn nodes<N: DeserializeOwned>(&self, condition: &str) -> Result<Vec<(u8, N)>, StorageError> {
        let sql =
            format!("SELECT identity, layer, node FROM nodes WHERE {condition} ORDER BY identity");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut nodes = Vec::new();
        while let Some(row) = rows.next()? {
            let identity: String = row.get(0)?;
            let node =
                serde_json::from_str(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?)
                    .map_err(|source| StorageError::Damaged { identity, source })?;
            nodes.push((row.get(1)?, node));
        }
        Ok(nodes)
    }
}

impl Registry for SqliteRegistry {
    type Error = StorageError;

    fn announce(
        &mut self,
        announcement: VerifiedAnnouncement,
    ) -> Result<Announced, RegistryError<StorageError>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(storage)?;
        let announced = take_over(&transaction, &announcement, self.node_count_max)?;
        transaction.commit().map_err(storage)?;
        Ok(announced)
    }

    fn remove_silent_since(&mut self, timestamp: u64) -> Result<usize, StorageError> {
        let oldest = i64::try_from(timestamp).unwrap_or(i64::MAX);
        Ok(self
            .connection
            .execute("DELETE FROM nodes WHERE announced_at < ?1", [oldest])?)
    }

    fn mixnodes(&self) -> Result<Vec<MixNodeBond>, StorageError> {
        let nodes = self.nodes("layer > 0")?.into_iter();
        Ok(nodes
            .map(|(layer, node)| mixnode_bond(layer, node))
            .collect())
    }

    fn gateways(&self) -> Result<Vec<GatewayBond>, StorageError> {
        let nodes = self.nodes("layer = 0")?.into_iter();
        Ok(nodes.map(|(_, node)| gateway_bond(node)).collect())
    }

    fn layer_distribution(&self) -> Result<LayerDistribution, StorageError> {
        Ok(distribution(&self.connection)?)
    }
}

fn storage(error: rusqlite::Error) -> RegistryError<StorageError> {
    RegistryError::Storage(error.into())
}

/// A node that changes its kind leaves its place; one that stays keeps its layer.
fn take_over(
    transaction: &Transaction<'_>,
    announcement: &VerifiedAnnouncement,
    node_count_max: u32,
) -> Result<Announced, RegistryError<StorageError>> {
    let identity = announcement.identity().to_string();
    let timestamp = i64::try_from(announcement.timestamp()).unwrap_or(i64::MAX);
    let known: Option<(i64, u8)> = transaction
        .query_row(
            "SELECT announced_at, layer FROM nodes WHERE identity = ?1",
            [&identity],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(storage)?;
    match known {
        Some((announced_at, _)) if timestamp <= announced_at => {
            return Err(RegistryError::Outdated);
        }
        None if node_count(transaction).map_err(storage)? >= node_count_max => {
            return Err(RegistryError::Full);
        }
        _ => {}
    }
    let (node, layer) = match announcement.node() {
        AnnouncedNode::MixNode(node) => {
            let layer = match known {
                Some((_, layer)) if layer != GATEWAY_LAYER => layer,
                _ => distribution(transaction)
                    .map_err(storage)?
                    .least_filled_layer()
                    .into(),
            };
            (serde_json::to_string(node), layer)
        }
        AnnouncedNode::Gateway(node) => (serde_json::to_string(node), GATEWAY_LAYER),
    };
    let node = node.expect("numbers and strings always have a JSON form");
    transaction
        .execute(
            "INSERT OR REPLACE INTO nodes (identity, layer, node, announced_at)
             VALUES (?1, ?2, ?3, ?4)",
            params![identity, layer, node, timestamp],
        )
        .map_err(storage)?;
    Ok(if known.is_some() {
        Announced::Renewed
    } else {
        Announced::New
    })
}

fn node_count(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("SELECT count(*) FROM nodes", [], |row| row.get(0))
}

fn distribution(connection: &Connection) -> rusqlite::Result<LayerDistribution> {
    let mut statement =
        connection.prepare_cached("SELECT layer, count(*) FROM nodes GROUP BY layer")?;
    let mut rows = statement.query([])?;
    let mut distribution = LayerDistribution::default();
    while let Some(row) = rows.next()? {
        let count: i64 = row.get(1)?;
        let count = u64::try_from(count).unwrap_or_default();
        match row.get::<_, u8>(0)? {
            GATEWAY_LAYER => distribution.gateways = count,
            1 => distribution.layer1 = count,
            2 => distribution.layer2 = count,
            _ => distribution.layer3 = count,
        }
    }
    Ok(distribution)
}

/// Nobody stakes anything here, so the owner is the node itself.
fn mixnode_bond(layer: u8, mix_node: nym_protocol::validator::MixNode) -> MixNodeBond {
    MixNodeBond {
        bond_amount: Coin::zero(),
        total_delegation: Coin::zero(),
        owner: mix_node.identity_key.clone(),
        layer: Layer::try_from(layer).unwrap_or(Layer::Three),
        mix_node,
    }
}

fn gateway_bond(gateway: nym_protocol::validator::Gateway) -> GatewayBond {
    GatewayBond {
        bond_amount: Coin::zero(),
        total_delegation: Coin::zero(),
        owner: gateway.identity_key.clone(),
        gateway,
    }
}

#[cfg(test)]
mod tests;
