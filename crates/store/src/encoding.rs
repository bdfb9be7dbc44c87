//! Bytes of a logged commit and of a composite key.
//!
//! A commit is its changes one after the other: a tag byte (0 delete, 1 put), then table, key and, for a put,
//! the value, each with a `u32` length in front, little-endian.

use crate::{Change, StoreError};

/// The key of a row: the table's name, a zero byte (which no name has), the key.
pub(crate) fn row(table: &str, key: &str) -> Vec<u8> {
    let mut row = Vec::with_capacity(table.len() + 1 + key.len());
    row.extend_from_slice(table.as_bytes());
    row.push(0);
    row.extend_from_slice(key.as_bytes());
    row
}

/// The key of a row without its table.
pub(crate) fn key_of<'a>(row: &'a [u8], table: &str) -> Result<&'a str, StoreError> {
    row.get(table.len() + 1..)
        .and_then(|key| std::str::from_utf8(key).ok())
        .ok_or(StoreError::Damaged {
            what: "a key is not text",
        })
}

pub(crate) fn encode(changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in changes {
        match change {
            Change::Delete { table, key } => {
                bytes.push(TAG_DELETE);
                field(&mut bytes, table.as_bytes());
                field(&mut bytes, key.as_bytes());
            }
            Change::Put { table, key, value } => {
                bytes.push(TAG_PUT);
                field(&mut bytes, table.as_bytes());
                field(&mut bytes, key.as_bytes());
                field(&mut bytes, value);
            }
        }
    }
    bytes
}

pub(crate) fn decode(mut bytes: &[u8]) -> Result<Vec<Change>, StoreError> {
    let mut changes = Vec::new();
    while let Some((tag, rest)) = bytes.split_first() {
        bytes = rest;
        let table = text(&mut bytes)?;
        let key = text(&mut bytes)?;
        changes.push(match *tag {
            TAG_DELETE => Change::Delete { table, key },
            TAG_PUT => Change::Put {
                table,
                key,
                value: take(&mut bytes)?.to_vec(),
            },
            _ => return Err(DAMAGED),
        });
    }
    Ok(changes)
}

fn field(bytes: &mut Vec<u8>, field: &[u8]) {
    // A transaction's limit is far below 4 GiB, and is checked before anything is encoded.
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(field);
}

fn text(bytes: &mut &[u8]) -> Result<String, StoreError> {
    let field = take(bytes)?;
    Ok(std::str::from_utf8(field).map_err(|_| DAMAGED)?.to_owned())
}

fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], StoreError> {
    let (prefix, rest) = bytes.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let length = usize::try_from(u32::from_le_bytes(*prefix)).map_err(|_| DAMAGED)?;
    let (field, rest) = rest.split_at_checked(length).ok_or(DAMAGED)?;
    *bytes = rest;
    Ok(field)
}

const TAG_DELETE: u8 = 0;
const TAG_PUT: u8 = 1;
const DAMAGED: StoreError = StoreError::Damaged {
    what: "a logged commit cannot be read",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_read_back_and_every_cut_is_refused() {
        let changes = vec![
            Change::Put {
                table: "t".into(),
                key: String::new(),
                value: vec![0, 1, 2],
            },
            Change::Delete {
                table: "u".into(),
                key: "k".into(),
            },
        ];
        let bytes = encode(&changes);
        assert_eq!(decode(&bytes).unwrap(), changes);
        let first = encode(&changes[..1]).len();
        for cut in 1..bytes.len() {
            assert_eq!(decode(&bytes[..cut]).is_ok(), cut == first, "cut at {cut}");
        }
    }
}
