//! Who gets into the registry, and what has to make room.

use nym_protocol::validator::announcement::AnnouncedNode;
use nym_protocol::validator::registry::{Announced, Bonded, OnConflict, RegistryError};
use nym_protocol::validator::{CheckedNode, Layer};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{GATEWAY_LAYER, StorageError, distribution, storage};

type Result<T> = std::result::Result<T, RegistryError<StorageError>>;

/// By whose word a node is listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// By its own.
    Announced,
    /// By its operator's: as 0.11 programs are.
    Bonded,
    /// By its operator's, but what is listed is what it has said itself since.
    BondedAndAnnounced,
}

impl ToSql for Standing {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let number = match self {
            Self::Announced => 0_i64,
            Self::Bonded => 1,
            Self::BondedAndAnnounced => 2,
        };
        Ok(number.into())
    }
}

impl FromSql for Standing {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self::Announced),
            1 => Ok(Self::Bonded),
            2 => Ok(Self::BondedAndAnnounced),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// A node that wants in, and what is known of it.
pub(super) struct Admission<'a> {
    transaction: &'a Transaction<'a>,
    node: &'a CheckedNode,
    identity: String,
    known: Option<Known>,
    node_count_max: u32,
}

struct Known {
    announced_at: i64,
    layer: u8,
    standing: Standing,
}

impl<'a> Admission<'a> {
    pub(super) fn new(
        transaction: &'a Transaction<'a>,
        node: &'a CheckedNode,
        node_count_max: u32,
    ) -> Result<Self> {
        let identity = node.identity().to_string();
        let known = transaction
            .query_row(
                "SELECT announced_at, layer, standing FROM nodes WHERE identity = ?1",
                [&identity],
                |row| {
                    Ok(Known {
                        announced_at: row.get(0)?,
                        layer: row.get(1)?,
                        standing: row.get(2)?,
                    })
                },
            )
            .optional()
            .map_err(storage)?;
        Ok(Self {
            transaction,
            node,
            identity,
            known,
            node_count_max,
        })
    }

    /// Takes the node's own word, which was given at `timestamp` (seconds since 1970).
    pub(super) fn announce(self, timestamp: u64) -> Result<Announced> {
        let timestamp = i64::try_from(timestamp).unwrap_or(i64::MAX);
        let standing = match &self.known {
            Some(known) if timestamp <= known.announced_at => return Err(RegistryError::Outdated),
            Some(known) if known.standing != Standing::Announced => Standing::BondedAndAnnounced,
            _ => Standing::Announced,
        };
        if let Some(holder) = self.address_holder()? {
            return Err(self.address_taken(holder));
        }
        self.check_host(Some(Standing::Bonded))?;
        self.check_count()?;
        let layer = self.layer(None)?;
        self.write(layer, standing, timestamp)?;
        Ok(match self.known {
            Some(_) => Announced::Renewed,
            None => Announced::New,
        })
    }

    /// Takes the operator's word.
    pub(super) fn bond(self, layer: Option<Layer>, on_conflict: OnConflict) -> Result<Bonded> {
        let speaks_for_itself =
            matches!(&self.known, Some(known) if known.standing != Standing::Bonded);
        let displaced = self.address_holder()?;
        if on_conflict == OnConflict::Refuse {
            if speaks_for_itself {
                let identity = self.identity;
                return Err(RegistryError::AnnouncesItself { identity });
            }
            if let Some(holder) = displaced {
                return Err(self.address_taken(holder));
            }
        }
        if let Some(holder) = &displaced {
            self.transaction
                .execute("DELETE FROM nodes WHERE identity = ?1", [holder])
                .map_err(storage)?;
        }
        self.check_host(None)?;
        self.check_count()?;
        let layer = self.layer(layer)?;
        // What it has announced so far is not taken a second time.
        let announced_at = self.known.as_ref().map_or(0, |known| known.announced_at);
        self.write(layer, Standing::Bonded, announced_at)?;
        Ok(Bonded {
            layer: (layer != GATEWAY_LAYER).then(|| super::to_layer(layer)),
            was_known: self.known.is_some(),
            displaced,
        })
    }

    /// Another node that takes packets where this one does.
    fn address_holder(&self) -> Result<Option<String>> {
        let address = self.node.mix_address();
        self.transaction
            .query_row(
                "SELECT identity FROM nodes WHERE host = ?1 AND mix_port = ?2 AND identity <> ?3",
                params![address.host, address.port, self.identity],
                |row| row.get(0),
            )
            .optional()
            .map_err(storage)
    }

    fn address_taken(&self, holder: String) -> RegistryError<StorageError> {
        let address = self.node.mix_address();
        RegistryError::AddressTaken { address, holder }
    }

    /// Refuses the host of another node of the same kind; only of one that stands in this way, if
    /// one is given.
    fn check_host(&self, standing: Option<Standing>) -> Result<()> {
        let host = self.node.mix_address().host;
        let holder = self
            .transaction
            .query_row(
                "SELECT identity FROM nodes WHERE host = ?1 AND identity <> ?2
                 AND (layer = 0) = ?3 AND (?4 IS NULL OR standing = ?4) LIMIT 1",
                params![host, self.identity, self.is_gateway(), standing],
                |row| row.get(0),
            )
            .optional()
            .map_err(storage)?;
        holder.map_or(Ok(()), |holder| {
            Err(RegistryError::HostTaken { host, holder })
        })
    }

    fn check_count(&self) -> Result<()> {
        let count: u32 = self
            .transaction
            .query_row("SELECT count(*) FROM nodes", [], |row| row.get(0))
            .map_err(storage)?;
        if self.known.is_none() && count >= self.node_count_max {
            return Err(RegistryError::Full);
        }
        Ok(())
    }

    fn is_gateway(&self) -> bool {
        matches!(self.node.node(), AnnouncedNode::Gateway(_))
    }

    /// The layer that was chosen, or the one it has, or the least filled one. A node that changes
    /// its kind leaves its place.
    fn layer(&self, chosen: Option<Layer>) -> Result<u8> {
        if self.is_gateway() {
            return Ok(GATEWAY_LAYER);
        }
        let known = self.known.as_ref().map(|known| known.layer);
        let of_mixnode = |layer: &u8| *layer != GATEWAY_LAYER;
        if let Some(layer) = chosen.map(u8::from).or(known).filter(of_mixnode) {
            return Ok(layer);
        }
        let distribution = distribution(self.transaction).map_err(storage)?;
        Ok(distribution.least_filled_layer().into())
    }

    fn write(&self, layer: u8, standing: Standing, announced_at: i64) -> Result<()> {
        let node = match self.node.node() {
            AnnouncedNode::Gateway(node) => serde_json::to_string(node),
            AnnouncedNode::MixNode(node) => serde_json::to_string(node),
        };
        let node = node.expect("numbers and strings always have a JSON form");
        let address = self.node.mix_address();
        self.transaction
            .execute(
                "INSERT INTO nodes
                     (identity, layer, node, host, mix_port, standing, announced_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (identity) DO UPDATE SET
                     layer = ?2, node = ?3, host = ?4, mix_port = ?5, standing = ?6,
                     announced_at = ?7",
                params![
                    self.identity,
                    layer,
                    node,
                    address.host,
                    address.port,
                    standing,
                    announced_at
                ],
            )
            .map_err(storage)?;
        Ok(())
    }
}
