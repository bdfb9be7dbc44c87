//! Images: registering, deregistering, showing.

use super::Outcome;
use super::check::{bad_value, required, tags, within};
use crate::command::{DeregisterImage, DescribeImageAttribute, DescribeImages, RegisterImage};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::clip;
use crate::instance_type::Architecture;
use crate::quota;
use crate::reply::{
    DeregisterImageResult, DescribeImageAttributeResult, DescribeImagesResult, RegisterImageResult,
};
use crate::resource::{BUILT_IN_IMAGE, Image, Kind, VmImage, default_root_device};
use crate::select::{Field, Item, Selection, flag, select, text};
use crate::shape::{self, AttributeValue};
use crate::view::tag_list;

pub(super) fn register_image(draft: &mut Draft<'_>, c: &RegisterImage) -> Outcome {
    let name = image_name(draft, &c.name)?;
    let vm = c.image_location.as_deref().map(VmImage::from_location);
    let vm = vm.transpose()?.flatten();
    if let Some(text) = c.virtualization_type.as_deref().filter(|text| *text != "hvm") {
        return Err(bad_value("virtualizationType", text, "There is hvm only."));
    }
    let root_device_name = c.root_device_name.clone().filter(|name| !name.is_empty());
    if let Some(name) = root_device_name.as_deref().filter(|name| !is_device(name)) {
        return Err(bad_value(
            "rootDeviceName",
            name,
            "Expecting a name such as /dev/xvda.",
        ));
    }
    let description = c.description.clone();
    if description.as_ref().is_some_and(|d| d.chars().count() > 255) {
        return Err(Ec2Error::invalid_value(
            "An image's description has at most 255 characters.",
        ));
    }
    let tags = tags(&c.tag_specifications, Kind::Image)?;
    let have = draft.all::<Image>().count();
    let code = ErrorCode::ResourceLimitExceeded;
    within(have, 1, quota::IMAGES_PER_REGION, code, "images")?;
    let image = Image {
        id: draft.fresh_id::<Image>(),
        name,
        description,
        location: c.image_location.clone().filter(|location| !location.is_empty()),
        vm,
        architecture: c
            .architecture
            .as_deref()
            .map_or(Ok(Architecture::X86), architecture)?,
        root_device_name: root_device_name.unwrap_or_else(default_root_device),
        ena_support: c.ena_support == Some(true),
        sriov_net_support: sriov_net_support(c.sriov_net_support.as_deref())?,
        imds_v2: only("imdsSupport", c.imds_support.as_deref(), IMDS_V2)?,
        created: draft.now,
        tags,
    };
    let image_id = Some(image.id.to_string());
    draft.put(image);
    Ok(RegisterImageResult { image_id }.into())
}

/// Whether a request turns SriovNetSupport on; it has one value, and no way back.
pub(super) fn sriov_net_support(value: Option<&str>) -> Result<bool, Ec2Error> {
    only("sriovNetSupport", value, SRIOV_SIMPLE)
}

/// Whether a parameter that takes one value is there.
fn only(parameter: &str, value: Option<&str>, good: &str) -> Result<bool, Ec2Error> {
    match value {
        None => Ok(false),
        Some(text) if text == good => Ok(true),
        Some(text) => Err(bad_value(parameter, text, &format!("Expecting {good}."))),
    }
}

/// Source: [botocore ec2 RegisterImageRequest$Name].
fn image_name(draft: &Draft<'_>, name: &str) -> Result<String, Ec2Error> {
    let name = required("name", name)?;
    let good = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if !(3..=128).contains(&name.chars().count()) || !name.chars().all(good) {
        return Err(Ec2Error::new(
            ErrorCode::InvalidAmiNameMalformed,
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '[', ']', ' ', '.', '/', '-', ''', '@' and '_'",
        ));
    }
    match draft.all::<Image>().find(|image| image.name == name) {
        None => Ok(name.to_owned()),
        Some(other) => Err(Ec2Error::new(
            ErrorCode::InvalidAmiNameDuplicate,
            format!("AMI name {name} is already in use by AMI {}", other.id),
        )),
    }
}

fn is_device(name: &str) -> bool {
    let rest = name.strip_prefix("/dev/");
    rest.is_some_and(|rest| (1..=32).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn architecture(text: &str) -> Result<Architecture, Ec2Error> {
    match text {
        "x86_64" => Ok(Architecture::X86),
        "arm64" => Ok(Architecture::Arm64),
        _ => Err(bad_value(
            "architecture",
            text,
            "There are instance types of x86_64 and arm64.",
        )),
    }
}

pub(super) fn deregister_image(draft: &mut Draft<'_>, c: &DeregisterImage) -> Outcome {
    let id = required("imageId", &c.image_id)?;
    if id == BUILT_IN_IMAGE {
        return Err(Ec2Error::new(
            ErrorCode::AuthFailure,
            format!("Not authorized for image:{id}"),
        ));
    }
    let id = draft.find::<Image>(id)?.id;
    draft.delete::<Image>(id);
    Ok(DeregisterImageResult { return_: Some(true) }.into())
}

pub(super) fn describe_images(draft: &mut Draft<'_>, c: &DescribeImages) -> Outcome {
    let mut items = Vec::new();
    let account = draft.scope.account.to_string();
    if c.image_ids.is_empty() {
        items.push(built_in());
        items.extend(draft.all::<Image>().map(|image| show(draft, image)));
    }
    for text in &c.image_ids {
        items.push(match text.as_str() {
            BUILT_IN_IMAGE => built_in(),
            _ => show(draft, draft.find::<Image>(text).map_err(|e| unknown(e, text))?),
        });
    }
    let owned_by = |image: &shape::Image, owner: &String| {
        image.owner_id.as_ref() == Some(owner)
            || image.image_owner_alias.as_ref() == Some(owner)
            || owner == "self" && image.owner_id.as_ref() == Some(&account)
    };
    items.retain(|image| c.owners.is_empty() || c.owners.iter().any(|owner| owned_by(image, owner)));
    // Nobody shares an image here: a caller sees its own, and the one that is public.
    let executable = |image: &shape::Image, user: &String| match user.as_str() {
        "all" => image.public == Some(true),
        _ => owned_by(image, user),
    };
    let users = &c.executable_users;
    items.retain(|image| users.is_empty() || users.iter().any(|user| executable(image, user)));
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: !c.image_ids.is_empty(),
    };
    let (images, next_token) = select(items, selection)?;
    Ok(DescribeImagesResult { next_token, images }.into())
}

/// EC2's wording, with brackets.
fn unknown(error: Ec2Error, text: &str) -> Ec2Error {
    match error.code {
        ErrorCode::InvalidAmiIdNotFound => Ec2Error::new(
            error.code,
            format!("The image id '[{}]' does not exist", clip(text)),
        ),
        _ => error,
    }
}

fn show(draft: &Draft<'_>, image: &Image) -> shape::Image {
    let owner = draft.scope.account.to_string();
    let location = || format!("{owner}/{}", image.name);
    shape::Image {
        description: image.description.clone(),
        ena_support: Some(image.ena_support),
        name: Some(image.name.clone()),
        root_device_name: Some(image.root_device_name.clone()),
        sriov_net_support: image.sriov_net_support.then(|| SRIOV_SIMPLE.to_owned()),
        tags: tag_list(&image.tags),
        imds_support: image.imds_v2.then(|| IMDS_V2.to_owned()),
        image_id: Some(image.id.to_string()),
        image_location: Some(image.location.clone().unwrap_or_else(location)),
        creation_date: Some(image.created.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()),
        public: Some(false),
        architecture: Some(image.architecture.as_str().into()),
        owner_id: Some(owner),
        ..every_image()
    }
}

/// The image that is always here: this machine's own files.
fn built_in() -> shape::Image {
    shape::Image {
        description: Some("The files of the machine that trinic runs on, in a namespace".into()),
        ena_support: Some(true),
        image_owner_alias: Some("amazon".into()),
        name: Some("trinic/this-machine".into()),
        root_device_name: Some(default_root_device()),
        image_id: Some(BUILT_IN_IMAGE.into()),
        image_location: Some("amazon/trinic/this-machine".into()),
        // The first release of the API that describes images so.
        creation_date: Some("2016-11-15T00:00:00.000Z".into()),
        public: Some(true),
        architecture: Some(OWN.as_str().into()),
        owner_id: Some(AMAZON.into()),
        ..every_image()
    }
}

fn every_image() -> shape::Image {
    shape::Image {
        platform_details: Some("Linux/UNIX".into()),
        usage_operation: Some("RunInstances".into()),
        hypervisor: Some("xen".into()),
        root_device_type: Some("ebs".into()),
        virtualization_type: Some("hvm".into()),
        state: Some("available".into()),
        image_type: Some("machine".into()),
        ..shape::Image::default()
    }
}

pub(super) fn describe_image_attribute(draft: &mut Draft<'_>, c: &DescribeImageAttribute) -> Outcome {
    let image = draft.need::<Image>("imageId", &c.image_id)?;
    let mut result = DescribeImageAttributeResult {
        image_id: Some(image.id.to_string()),
        ..DescribeImageAttributeResult::default()
    };
    let value = |text: Option<&str>| {
        Some(AttributeValue {
            value: text.map(str::to_owned),
        })
    };
    match required("attribute", &c.attribute)? {
        "description" => result.description = value(image.description.as_deref()),
        "sriovNetSupport" => {
            result.sriov_net_support = value(image.sriov_net_support.then_some(SRIOV_SIMPLE));
        }
        "imdsSupport" => result.imds_support = value(image.imds_v2.then_some(IMDS_V2)),
        other => return Err(bad_value("attribute", other, "Unknown or unsupported attribute.")),
    }
    Ok(result.into())
}

impl Item for shape::Image {
    const FIELDS: &'static [Field<Self>] = &[
        ("architecture", |i| text(&i.architecture)),
        ("creation-date", |i| text(&i.creation_date)),
        ("description", |i| text(&i.description)),
        ("ena-support", |i| flag(i.ena_support)),
        ("hypervisor", |i| text(&i.hypervisor)),
        ("image-id", |i| text(&i.image_id)),
        ("image-type", |i| text(&i.image_type)),
        ("is-public", |i| flag(i.public)),
        ("manifest-location", |i| text(&i.image_location)),
        ("name", |i| text(&i.name)),
        ("owner-alias", |i| text(&i.image_owner_alias)),
        ("owner-id", |i| text(&i.owner_id)),
        ("root-device-name", |i| text(&i.root_device_name)),
        ("root-device-type", |i| text(&i.root_device_type)),
        ("sriov-net-support", |i| text(&i.sriov_net_support)),
        ("state", |i| text(&i.state)),
        ("virtualization-type", |i| text(&i.virtualization_type)),
    ];

    fn key(&self) -> String {
        self.image_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[shape::Tag] {
        &self.tags
    }
}

/// The one value of SriovNetSupport: the Intel 82599 virtual function.
pub(crate) const SRIOV_SIMPLE: &str = "simple";
const IMDS_V2: &str = "v2.0";
/// The account that owns Amazon's images. Source: [AWS doc AWSEC2/latest/UserGuide/sharingamis-find.html].
const AMAZON: &str = "137112412989";
/// What this machine is.
const OWN: Architecture = if cfg!(target_arch = "aarch64") {
    Architecture::Arm64
} else {
    Architecture::X86
};
