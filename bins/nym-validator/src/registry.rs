//! The nodes of the network in an SQLite file.
//!
//! One row per node, keyed by its identity. The file is in write-ahead mode and synchronised at
//! every commit: an announcement that was answered survives a crash of the program and of the
//! machine. Several programs may have it open: the operator's commands write beside a running
//! validator, which sees that [something changed](SqliteRegistry::was_changed_by_others).

mod admission;

use std::path::Path;
use std::time::Duration;

use nym_packet::keys::IdentityPublicKey;
use nym_protocol::validator::announcement::{AnnouncedNode, VerifiedAnnouncement};
use nym_protocol::validator::bond::Coin;
use nym_protocol::validator::registry::{
    Announced, Bonded, Bonding, RegistryError, StandingBond, Unbonded,
};
use nym_protocol::validator::{
    Gateway, GatewayBond, Layer, LayerDistribution, MixNode, MixNodeBond, Registry,
};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior};
use serde::de::DeserializeOwned;

use self::admission::{Admission, Standing};

/// The layout of the tables; a file with a higher number was made by a later version.
const SCHEMA_VERSION: i64 = 2;

/// How long to wait for another program that has the file open.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// `layer` of a gateway's row; mix nodes have 1 to 3.
const GATEWAY_LAYER: u8 = 0;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS nodes (
        identity     TEXT    NOT NULL PRIMARY KEY,  -- base58
        layer        INTEGER NOT NULL,              -- 1 to 3; 0 for a gateway
        node         TEXT    NOT NULL,              -- what was said about it last, JSON
        host         TEXT    NOT NULL,              -- as MixAddress writes it
        mix_port     INTEGER NOT NULL,
        standing     INTEGER NOT NULL,              -- a Standing
        announced_at INTEGER NOT NULL,              -- seconds since 1970, by its own clock; or 0
        UNIQUE (host, mix_port)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS nodes_by_layer ON nodes (layer, identity);
    CREATE INDEX IF NOT EXISTS nodes_by_age ON nodes (announced_at);
";

/// Layout 1 knew no bonds and let several nodes claim one address. Who announced itself last keeps
/// it; the others are told when they announce themselves again, within a minute.
const FROM_LAYOUT_1: &str = "
    DROP INDEX nodes_by_layer;
    DROP INDEX nodes_by_age;
    ALTER TABLE nodes RENAME TO nodes_1;
";
const TAKE_LAYOUT_1: &str = "
    INSERT OR IGNORE INTO nodes
        SELECT identity, layer, node, lower(node ->> '$.host'), node ->> '$.mix_port', 0,
               announced_at
        FROM nodes_1 ORDER BY announced_at DESC;
    DROP TABLE nodes_1;
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
    /// Changes when another connection commits something.
    data_version: i64,
}

impl SqliteRegistry {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// [`StorageError::Layout`] for the file of a later version, else [`StorageError::Sqlite`].
    pub fn open(path: &Path, node_count_max: u32) -> Result<Self, StorageError> {
        Self::with_connection(Connection::open(path)?, node_count_max)
    }

    /// Opens the file, which has to be there.
    ///
    /// # Errors
    ///
    /// As [`SqliteRegistry::open`].
    pub fn open_existing(path: &Path, node_count_max: u32) -> Result<Self, StorageError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Self::with_connection(connection, node_count_max)
    }

    /// Nodes in memory, for tests.
    ///
    /// # Errors
    ///
    /// [`StorageError::Sqlite`].
    pub fn in_memory(node_count_max: u32) -> Result<Self, StorageError> {
        Self::with_connection(Connection::open_in_memory()?, node_count_max)
    }

    fn with_connection(
        mut connection: Connection,
        node_count_max: u32,
    ) -> Result<Self, StorageError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = begin(&mut connection)?;
        match transaction.pragma_query_value(None, "user_version", |row| row.get(0))? {
            0 => transaction.execute_batch(SCHEMA)?,
            1 => {
                for batch in [FROM_LAYOUT_1, SCHEMA, TAKE_LAYOUT_1] {
                    transaction.execute_batch(batch)?;
                }
            }
            SCHEMA_VERSION => {}
            found => return Err(StorageError::Layout { found }),
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
        Ok(Self {
            data_version: data_version(&connection)?,
            connection,
            node_count_max,
        })
    }

    /// Whether another program, as an operator's command, has changed something since this was
    /// asked last. Does not touch the disk.
    ///
    /// # Errors
    ///
    /// [`StorageError::Sqlite`].
    pub fn was_changed_by_others(&mut self) -> Result<bool, StorageError> {
        let now = data_version(&self.connection)?;
        Ok(std::mem::replace(&mut self.data_version, now) != now)
    }

    /// From here on no more nodes are taken than these. Those that are there stay.
    pub const fn set_node_count_max(&mut self, to: u32) {
        self.node_count_max = to;
    }

    /// Nodes of one kind, with their layers, sorted by identity.
    fn nodes<N: DeserializeOwned>(&self, condition: &str) -> Result<Vec<Row<N>>, StorageError> {
        let sql = format!(
            "SELECT identity, layer, standing, node FROM nodes WHERE {condition} ORDER BY identity"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut nodes = Vec::new();
        while let Some(row) = rows.next()? {
            let identity: String = row.get(0)?;
            let node =
                serde_json::from_str(row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?)
                    .map_err(|source| StorageError::Damaged { identity, source })?;
            nodes.push(Row {
                layer: row.get(1)?,
                standing: row.get(2)?,
                node,
            });
        }
        Ok(nodes)
    }
}

/// What a row says.
struct Row<N> {
    layer: u8,
    standing: Standing,
    node: N,
}

impl Registry for SqliteRegistry {
    type Error = StorageError;

    fn announce(
        &mut self,
        announcement: VerifiedAnnouncement,
    ) -> Result<Announced, RegistryError<StorageError>> {
        let transaction = begin(&mut self.connection).map_err(storage)?;
        let admission = Admission::new(&transaction, announcement.node(), self.node_count_max)?;
        let announced = admission.announce(announcement.timestamp())?;
        transaction.commit().map_err(storage)?;
        Ok(announced)
    }

    fn bond(&mut self, bonding: Bonding) -> Result<Bonded, RegistryError<StorageError>> {
        let transaction = begin(&mut self.connection).map_err(storage)?;
        let admission = Admission::new(&transaction, &bonding.node, self.node_count_max)?;
        let bonded = admission.bond(bonding.layer, bonding.on_conflict)?;
        transaction.commit().map_err(storage)?;
        Ok(bonded)
    }

    fn unbond(&mut self, identity: &IdentityPublicKey) -> Result<Option<Unbonded>, StorageError> {
        let identity = identity.to_string();
        let transaction = begin(&mut self.connection)?;
        let standing = transaction
            .query_row(
                "SELECT standing FROM nodes WHERE identity = ?1",
                [&identity],
                |row| row.get(0),
            )
            .optional()?;
        let (sql, unbonded) = match standing {
            Some(Standing::Bonded) => (
                "DELETE FROM nodes WHERE identity = ?1",
                Some(Unbonded::Removed),
            ),
            Some(Standing::BondedAndAnnounced) => (
                "UPDATE nodes SET standing = 0 WHERE identity = ?1",
                Some(Unbonded::Announced),
            ),
            Some(Standing::Announced) | None => return Ok(None),
        };
        transaction.execute(sql, [&identity])?;
        transaction.commit()?;
        Ok(unbonded)
    }

    fn bonds(&self) -> Result<Vec<StandingBond>, StorageError> {
        let mixnodes = self.nodes::<MixNode>("layer > 0 AND standing > 0")?;
        let gateways = self.nodes::<Gateway>("layer = 0 AND standing > 0")?;
        let mut bonds: Vec<_> = mixnodes
            .into_iter()
            .map(|row| {
                (
                    row.standing,
                    Some(to_layer(row.layer)),
                    AnnouncedNode::MixNode(row.node),
                )
            })
            .chain(
                gateways
                    .into_iter()
                    .map(|row| (row.standing, None, AnnouncedNode::Gateway(row.node))),
            )
            .map(|(standing, layer, node)| StandingBond {
                node,
                layer,
                announces_itself: standing == Standing::BondedAndAnnounced,
            })
            .collect();
        bonds.sort_by(|one, other| one.node.identity_key().cmp(other.node.identity_key()));
        Ok(bonds)
    }

    fn remove_silent_since(&mut self, timestamp: u64) -> Result<usize, StorageError> {
        let oldest = i64::try_from(timestamp).unwrap_or(i64::MAX);
        Ok(self.connection.execute(
            "DELETE FROM nodes WHERE standing = 0 AND announced_at < ?1",
            [oldest],
        )?)
    }

    fn mixnodes(&self) -> Result<Vec<MixNodeBond>, StorageError> {
        let nodes = self.nodes("layer > 0")?.into_iter();
        Ok(nodes.map(|row| mixnode_bond(row.layer, row.node)).collect())
    }

    fn gateways(&self) -> Result<Vec<GatewayBond>, StorageError> {
        let nodes = self.nodes("layer = 0")?.into_iter();
        Ok(nodes.map(|row| gateway_bond(row.node)).collect())
    }

    fn layer_distribution(&self) -> Result<LayerDistribution, StorageError> {
        Ok(distribution(&self.connection)?)
    }
}

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

fn storage(error: rusqlite::Error) -> RegistryError<StorageError> {
    RegistryError::Storage(error.into())
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

fn to_layer(number: u8) -> Layer {
    Layer::try_from(number).unwrap_or(Layer::Three)
}

/// Nobody stakes anything here, so the owner is the node itself.
fn mixnode_bond(layer: u8, mix_node: MixNode) -> MixNodeBond {
    MixNodeBond {
        bond_amount: Coin::zero(),
        total_delegation: Coin::zero(),
        owner: mix_node.identity_key.clone(),
        layer: to_layer(layer),
        mix_node,
    }
}

fn gateway_bond(gateway: Gateway) -> GatewayBond {
    GatewayBond {
        bond_amount: Coin::zero(),
        total_delegation: Coin::zero(),
        owner: gateway.identity_key.clone(),
        gateway,
    }
}

#[cfg(test)]
mod tests;
