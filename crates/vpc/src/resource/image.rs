//! Images that callers registered, and what of them a virtual machine boots.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tags;
use crate::error::Ec2Error;
use crate::ids::{ImageId, clip};
use crate::instance_type::Architecture;

/// An image (AMI). Ids that nobody registered launch a namespace too, as people's scripts expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `ami-…`.
    pub id: ImageId,
    /// Name, unique in the account and region.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// ImageLocation as given.
    pub location: Option<String>,
    /// What a virtual machine boots; `None`: its instances are namespaces.
    pub vm: Option<VmImage>,
    /// Architecture.
    pub architecture: Architecture,
    /// RootDeviceName.
    pub root_device_name: String,
    /// EnaSupport.
    pub ena_support: bool,
    /// SriovNetSupport is `simple`.
    pub sriov_net_support: bool,
    /// ImdsSupport is `v2.0`: instances require tokens, with a hop limit of 2.
    pub imds_v2: bool,
    /// When it was registered.
    pub created: Timestamp,
    /// Tags.
    pub tags: Tags,
}

/// What a virtual machine boots: a kernel of its own, a disk, or a kernel with a disk. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VmImage {
    /// File of the kernel; without one the disk has a boot loader.
    pub kernel: Option<String>,
    /// File of the initial file system; only beside a kernel.
    pub initrd: Option<String>,
    /// The kernel's command line; only beside a kernel.
    pub append: Option<String>,
    /// File of the disk, in QEMU's qcow2 format.
    pub disk: Option<String>,
}

impl VmImage {
    /// What an ImageLocation names; `None` for one that is no `file:` URL, such as a path in S3.
    ///
    /// - `file:/images/disk.qcow2`: a disk
    /// - `file:/boot/vmlinuz?initrd=/boot/initrd.img&append=console=ttyS0 quiet`: a kernel
    /// - `file:/boot/vmlinuz?append=root=/dev/vda&disk=/images/root.qcow2`: a kernel with a disk
    ///
    /// `file:///` is the same; but the AWS CLI takes a parameter that begins with `file://` for the name of a
    /// file to read the parameter from.
    ///
    /// The path is a kernel when `initrd` or `append` follows. `%` and two hexadecimal digits stand for a
    /// byte, so that a path may have `?` and a command line `&`; `+` is itself. Whether the files are there
    /// is not asked here.
    ///
    /// # Errors
    ///
    /// `InvalidParameterValue` for what is not of this form.
    pub fn from_location(location: &str) -> Result<Option<Self>, Ec2Error> {
        let Some(rest) = location.strip_prefix("file:") else {
            return Ok(None);
        };
        if location.len() > LOCATION_BYTES {
            return Err(wrong(location, "It is too long."));
        }
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = file(location, path)?;
        let mut image = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (place, value) = match name {
                "initrd" => (&mut image.initrd, file(location, value)?),
                "disk" => (&mut image.disk, file(location, value)?),
                "append" => (&mut image.append, decoded(location, value)?),
                _ => return Err(wrong(location, "After ? it has initrd, append and disk only.")),
            };
            if place.replace(value).is_some() {
                return Err(wrong(location, "It says one thing twice."));
            }
        }
        if image.initrd.is_some() || image.append.is_some() {
            image.kernel = Some(path);
        } else if image.disk.replace(path).is_some() {
            return Err(wrong(location, "It names two disks and no kernel."));
        }
        Ok(Some(image))
    }

    /// The files that it names, each with the word for it.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = [
            ("kernel", &self.kernel),
            ("initrd", &self.initrd),
            ("disk", &self.disk),
        ];
        named
            .into_iter()
            .filter_map(|(word, path)| Some((word, path.as_deref()?)))
    }
}

/// The image that is always here: this machine's own files.
pub const BUILT_IN_IMAGE: &str = "ami-00000000000000001";

/// RootDeviceName of images that say none.
///
/// Source: [AWS doc AWSEC2/latest/UserGuide/device_naming.html, 2026-11-23].
pub(crate) fn default_root_device() -> String {
    "/dev/xvda".to_owned()
}

fn file(location: &str, text: &str) -> Result<String, Ec2Error> {
    let path = decoded(location, text)?;
    let climbs = path.split('/').any(|part| part == "..");
    if !path.starts_with('/') || path.ends_with('/') || climbs {
        return Err(wrong(
            location,
            "Files are named by their absolute paths, without '..'.",
        ));
    }
    Ok(path)
}

fn decoded(location: &str, text: &str) -> Result<String, Ec2Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.get(..2).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.ok_or_else(|| wrong(location, "After % it needs two hexadecimal digits."))?);
        rest = tail.get(2..).unwrap_or_default();
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong(location, "It is not UTF-8."))?;
    if text.contains(|c: char| c.is_control()) {
        return Err(wrong(location, "It has control characters."));
    }
    Ok(text)
}

fn wrong(location: &str, why: &str) -> Ec2Error {
    Ec2Error::invalid_value(format!(
        "Value ({}) for parameter imageLocation is invalid. {why}",
        clip(location)
    ))
}

/// Above the longest path of Linux (4,096) and the longest kernel command line (4,096) together.
///
/// Source: [linux include/uapi/linux/limits.h PATH_MAX; arch/x86 COMMAND_LINE_SIZE 2048].
const LOCATION_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(location: &str) -> VmImage {
        VmImage::from_location(location).unwrap().unwrap()
    }

    #[test]
    fn a_path_alone_is_a_disk() {
        let image = parse("file:///images/disk.qcow2");
        assert_eq!(image.disk.as_deref(), Some("/images/disk.qcow2"));
        assert_eq!(
            image.files().collect::<Vec<_>>(),
            [("disk", "/images/disk.qcow2")]
        );
        assert_eq!(parse("file:/images/disk.qcow2"), image);
    }

    #[test]
    fn a_path_with_initrd_or_append_is_a_kernel() {
        let image = parse("file:///boot/vmlinuz?initrd=/boot/initrd&append=console=ttyS0 root=/dev/vda");
        assert_eq!(image.kernel.as_deref(), Some("/boot/vmlinuz"));
        assert_eq!(image.initrd.as_deref(), Some("/boot/initrd"));
        assert_eq!(image.append.as_deref(), Some("console=ttyS0 root=/dev/vda"));
        assert_eq!(image.disk, None);
        let image = parse("file:///k?append=a%26b+c&disk=/d%3F");
        assert_eq!(image.append.as_deref(), Some("a&b+c"));
        assert_eq!(image.disk.as_deref(), Some("/d?"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_text_every_file_is_named_by_a_plain_absolute_path(text in "file:(/|%|[a-f0-9]|[?&=.]|initrd=/|disk=/|append=|\\PC){0,24}") {
            if let Ok(image) = VmImage::from_location(&text) {
                let image = image.unwrap();
                proptest::prop_assert!(image.kernel.is_some() || image.disk.is_some());
                for (_, path) in image.files() {
                    proptest::prop_assert!(path.starts_with('/') && !path.contains('\0'), "{path}");
                    proptest::prop_assert!(!path.split('/').any(|part| part == ".."), "{path}");
                }
            }
        }
    }

    #[test]
    fn other_locations_are_none_of_ours() {
        assert_eq!(VmImage::from_location("bucket/image.manifest.xml").unwrap(), None);
        assert_eq!(VmImage::from_location("").unwrap(), None);
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        for location in [
            "file:",
            "file://",
            "file:///",
            "file://host/disk",
            "file:disk.qcow2",
            "file:///a/../b",
            "file:///k?initrd=relative",
            "file:///k?initrd=/a&initrd=/b",
            "file:///a?disk=/b",
            "file:///a?colour=red",
            "file:///a%2",
            "file:///a%zz",
            "file:///a%ff",
            "file:///a%00",
            "file:///a%+1",
        ] {
            let error = VmImage::from_location(location).unwrap_err();
            assert_eq!(error.code, crate::ErrorCode::InvalidParameterValue, "{location}");
        }
        assert!(VmImage::from_location(&format!("file:///{}", "a".repeat(20_000))).is_err());
    }
}
