//! Frames of the control-card protocol: a `u32` length, little-endian, then one JSON value of that length.
//!
//! Both forms are here: blocking for the card's threads, asynchronous for control. A length above the limit
//! is an error before anything is allocated, and the buffer grows only as bytes arrive, so that a peer's
//! claim alone costs no memory.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::protocol::FRAME_LIMIT_BYTES;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The socket failed, or ended inside a frame.
    #[error("Card protocol socket failed")]
    Io(#[from] io::Error),
    /// The length is above [`FRAME_LIMIT_BYTES`].
    #[error("Card protocol frame of {length} bytes is above the limit of {limit}")]
    TooLong {
        /// The announced length.
        length: u64,
        /// The limit.
        limit: u32,
    },
    /// The value is not what this version of the protocol says.
    #[error("Card protocol frame is not understood")]
    Json(#[from] serde_json::Error),
}

/// Encodes one value with its length in front.
///
/// # Errors
///
/// When the value is too long or has no JSON form.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; PREFIX_BYTES];
    serde_json::to_writer(&mut frame, value)?;
    let length = u32::try_from(frame.len() - PREFIX_BYTES).unwrap_or(u32::MAX);
    check(length)?;
    frame[..PREFIX_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Writes one frame to a blocking socket.
///
/// # Errors
///
/// When the value is too long or the socket fails.
pub fn write<T: Serialize>(writer: &mut impl Write, value: &T) -> Result<(), FrameError> {
    writer.write_all(&encode(value)?)?;
    Ok(writer.flush()?)
}

/// Reads one frame from a blocking socket; `None` at a clean end between frames.
///
/// # Errors
///
/// When the socket fails or the frame is not understood.
pub fn read<T: DeserializeOwned>(reader: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut prefix = [0; PREFIX_BYTES];
    let got = read_up_to(reader, &mut prefix)?;
    if got == 0 {
        return Ok(None);
    }
    if got < PREFIX_BYTES {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let length = u32::from_le_bytes(prefix);
    check(length)?;
    let mut body = Vec::new();
    reader.by_ref().take(u64::from(length)).read_to_end(&mut body)?;
    decode(&body, length).map(Some)
}

/// Writes one frame to an asynchronous socket.
///
/// # Errors
///
/// When the value is too long or the socket fails.
pub async fn write_async<T: Serialize>(
    writer: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> Result<(), FrameError> {
    writer.write_all(&encode(value)?).await?;
    Ok(writer.flush().await?)
}

/// Reads one frame from an asynchronous socket; `None` at a clean end between frames. Not cancel-safe:
/// a task reads, and others wait for what it passes on.
///
/// # Errors
///
/// When the socket fails or the frame is not understood.
pub async fn read_async<T: DeserializeOwned>(
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    let mut prefix = [0; PREFIX_BYTES];
    let mut got = 0;
    while got < PREFIX_BYTES {
        match reader.read(&mut prefix[got..]).await? {
            0 if got == 0 => return Ok(None),
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            n => got += n,
        }
    }
    let length = u32::from_le_bytes(prefix);
    check(length)?;
    let mut body = Vec::new();
    reader.take(u64::from(length)).read_to_end(&mut body).await?;
    decode(&body, length).map(Some)
}

fn check(length: u32) -> Result<(), FrameError> {
    if length > FRAME_LIMIT_BYTES {
        return Err(FrameError::TooLong {
            length: u64::from(length),
            limit: FRAME_LIMIT_BYTES,
        });
    }
    Ok(())
}

fn decode<T: DeserializeOwned>(body: &[u8], length: u32) -> Result<T, FrameError> {
    if u64::try_from(body.len()).ok() != Some(u64::from(length)) {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(serde_json::from_slice(body)?)
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match reader.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Bytes of the length in front of a frame.
const PREFIX_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{FromCard, ToCard};
    use trinic_switch::tables::Revision;

    #[test]
    fn frames_follow_each_other_and_end_cleanly() {
        let mut bytes = Vec::new();
        for n in [7, 8] {
            write(
                &mut bytes,
                &FromCard::Applied {
                    revision: Revision(n),
                },
            )
            .unwrap();
        }
        let mut reader = bytes.as_slice();
        for n in [7, 8] {
            let frame: FromCard = read(&mut reader).unwrap().unwrap();
            assert!(matches!(frame, FromCard::Applied { revision: Revision(r) } if r == n));
        }
        assert!(read::<FromCard>(&mut reader).unwrap().is_none());
    }

    #[test]
    fn a_cut_frame_is_an_error_at_every_length() {
        let frame = encode(&ToCard::Shutdown { stop_instances: true }).unwrap();
        for cut in 1..frame.len() {
            let error = read::<ToCard>(&mut &frame[..cut]).unwrap_err();
            assert!(matches!(error, FrameError::Io(_)), "cut at {cut}: {error}");
        }
    }

    #[test]
    fn a_long_frame_is_refused_before_it_is_read() {
        let bytes = (FRAME_LIMIT_BYTES + 1).to_le_bytes();
        let error = read::<ToCard>(&mut bytes.as_slice()).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
    }

    #[tokio::test]
    async fn both_forms_understand_each_other() {
        let (mut a, mut b) = tokio::io::duplex(16);
        let sender = tokio::spawn(async move {
            write_async(
                &mut a,
                &ToCard::Shutdown {
                    stop_instances: false,
                },
            )
            .await
        });
        let frame: ToCard = read_async(&mut b).await.unwrap().unwrap();
        assert!(matches!(
            frame,
            ToCard::Shutdown {
                stop_instances: false
            }
        ));
        sender.await.unwrap().unwrap();
        assert!(read_async::<ToCard>(&mut b).await.unwrap().is_none());
    }
}
