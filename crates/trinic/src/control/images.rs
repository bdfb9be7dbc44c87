//! The files that RegisterImage names: the model is pure, so that they are there is asked here, at the edge.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use trinic_vpc::command::Command;
use trinic_vpc::resource::VmImage;
use trinic_vpc::{Ec2Error, ErrorCode};

/// Refuses an image whose files cannot be read; every other command passes.
///
/// The files may go later: then a launch fails, with the reason in the instance's StateReason.
///
/// # Errors
///
/// `InvalidManifest`, EC2's code for an image whose manifest is not where it was said to be.
pub async fn check(command: &Command) -> Result<(), Ec2Error> {
    let Command::RegisterImage(register) = command else {
        return Ok(());
    };
    let Some(image) = register
        .image_location
        .as_deref()
        .and_then(|location| VmImage::from_location(location).ok().flatten())
    else {
        // Without files there is nothing to ask, and a location of no good form is the model's to refuse.
        return Ok(());
    };
    // A file may lie on a slow disk, and the other calls shall not wait for it.
    let checked = tokio::task::spawn_blocking(move || check_files(&image)).await;
    checked.unwrap_or_else(|error| {
        let error_text = error.to_string();
        Err(
            Ec2Error::new(ErrorCode::InternalError, "An internal error has occurred")
                .with_context(error_text),
        )
    })
}

fn check_files(image: &VmImage) -> Result<(), Ec2Error> {
    for (word, path) in image.files() {
        check_file(word, Path::new(path)).map_err(|why| {
            Ec2Error::new(
                ErrorCode::InvalidManifest,
                format!("The image's {word} {path} cannot be used: {why}"),
            )
        })?;
    }
    Ok(())
}

fn check_file(word: &str, path: &Path) -> Result<(), String> {
    // Before it is opened: the opening of a pipe that nobody writes to would wait.
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a regular file".into());
    }
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    if word != "disk" {
        return Ok(());
    }
    let mut start = [0; QCOW2_MAGIC.len()];
    match file.read_exact(&mut start) {
        Ok(()) if start == QCOW2_MAGIC => Ok(()),
        _ => Err("it is not in the qcow2 format; qemu-img convert -O qcow2 makes such a file".into()),
    }
}

/// Source: [qemu docs/interop/qcow2.rst, "Header"].
const QCOW2_MAGIC: [u8; 4] = *b"QFI\xfb";

#[cfg(test)]
mod tests {
    use super::*;
    use trinic_vpc::command::RegisterImage;

    fn code(location: &str) -> Option<ErrorCode> {
        let command = Command::RegisterImage(RegisterImage {
            image_location: Some(location.into()),
            ..RegisterImage::default()
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(&command)).err().map(|error| error.code)
    }

    #[test]
    fn files_must_be_there_and_be_what_they_are_named_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("kernel"), "MZ").unwrap();
        std::fs::write(path("disk"), b"QFI\xfb\0\0\0\x03").unwrap();
        std::fs::write(path("raw"), "raw").unwrap();
        let (kernel, disk, raw) = (path("kernel"), path("disk"), path("raw"));
        assert_eq!(code(&format!("file://{disk}")), None);
        assert_eq!(code(&format!("file://{kernel}?initrd={raw}&disk={disk}")), None);
        for wrong in [
            format!("file://{raw}"),
            format!("file://{}", path("nothing")),
            format!("file://{}", dir.path().display()),
            format!("file://{kernel}?initrd={}", path("nothing")),
            format!("file://{kernel}?append=x&disk={raw}"),
            "file:///dev/null?append=x".into(),
        ] {
            assert_eq!(code(&wrong), Some(ErrorCode::InvalidManifest), "{wrong}");
        }
        // Not ours to judge.
        assert_eq!(code("bucket/manifest.xml"), None);
        assert_eq!(code("file:relative"), None);
    }
}
