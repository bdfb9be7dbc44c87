//! Tags, key pairs, zones, regions and the attributes of the account.

use super::Outcome;
use super::check::{check_tag_count, required, show_tags, some, tag_pair, tags, within};
use crate::command::{
    CreateTags, DeleteKeyPair, DeleteTags, DescribeAccountAttributes, DescribeAvailabilityZones,
    DescribeKeyPairs, DescribeRegions, DescribeTags, ImportKeyPair,
};
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{
    AllocationId, ImageId, InstanceId, InternetGatewayId, KeyPairId, NetworkInterfaceId, ResourceId,
    RouteTableId, SecurityGroupId, SecurityGroupRuleId, SubnetId, VpcId, clip,
};
use crate::quota;
use crate::region::Stored;
use crate::reply::{
    DeleteKeyPairResult, DescribeAccountAttributesResult, DescribeAvailabilityZonesResult,
    DescribeKeyPairsResult, DescribeRegionsResult, DescribeTagsResult, ImportKeyPairResult, Reply,
};
use crate::resource::{
    Address, Image, Instance, InternetGateway, KeyPair, Kind, NetworkInterface, RouteTable, SecurityGroup,
    Subnet, Tags, Vpc,
};
use crate::select::{Field, Item, Selection, select, text};
use crate::shape::{self, Tag, TagDescription};
use crate::zone::{self, REGIONS};

pub(super) fn create_tags(draft: &mut Draft<'_>, c: &CreateTags) -> Outcome {
    let mut pairs = Tags::new();
    for tag in some("tag", &c.tags)? {
        let (key, value) = tag_pair(tag)?;
        pairs.insert(key.to_owned(), value.to_owned());
    }
    for id in some("resourceId", &c.resources)? {
        let mut tags = edit_tags(draft, id, None)?;
        tags.extend(pairs.clone());
        check_tag_count(&tags)?;
        edit_tags(draft, id, Some(tags))?;
    }
    Ok(Reply::Done)
}

pub(super) fn delete_tags(draft: &mut Draft<'_>, c: &DeleteTags) -> Outcome {
    for id in some("resourceId", &c.resources)? {
        let mut tags = edit_tags(draft, id, None)?;
        if c.tags.is_empty() {
            tags.clear();
        }
        for tag in &c.tags {
            let key = tag.key.as_deref().unwrap_or_default();
            // With a value only that value goes, and an empty text is a value.
            let same = tag.value.is_none() || tag.value.as_ref() == tags.get(key);
            if same {
                tags.remove(key);
            }
        }
        edit_tags(draft, id, Some(tags))?;
    }
    Ok(Reply::Done)
}

/// The tags of the resource that a request names, after they were replaced if there are new ones.
fn edit_tags(draft: &mut Draft<'_>, text: &str, new: Option<Tags>) -> Result<Tags, Ec2Error> {
    macro_rules! by_prefix {
        ($($id:ident => $type:ident),* $(,)?) => {
            $(if text.starts_with($id::PREFIX) {
                return edit_tags_of::<$type>(draft, text, new, |r| &mut r.tags);
            })*
        };
    }
    by_prefix! {
        VpcId => Vpc,
        SubnetId => Subnet,
        SecurityGroupId => SecurityGroup,
        InternetGatewayId => InternetGateway,
        RouteTableId => RouteTable,
        NetworkInterfaceId => NetworkInterface,
        InstanceId => Instance,
        AllocationId => Address,
        KeyPairId => KeyPair,
        ImageId => Image,
    }
    if text.starts_with(SecurityGroupRuleId::PREFIX) {
        return edit_rule_tags(draft, text, new);
    }
    Err(Ec2Error::new(
        ErrorCode::InvalidId,
        format!("The ID '{}' is not valid", clip(text)),
    ))
}

fn edit_tags_of<T: Stored>(
    draft: &mut Draft<'_>,
    text: &str,
    new: Option<Tags>,
    tags: fn(&mut T) -> &mut Tags,
) -> Result<Tags, Ec2Error> {
    let mut resource = draft.find::<T>(text)?.clone();
    if let Some(new) = new {
        *tags(&mut resource) = new;
        draft.put(resource.clone());
    }
    Ok(tags(&mut resource).clone())
}

fn edit_rule_tags(draft: &mut Draft<'_>, text: &str, new: Option<Tags>) -> Result<Tags, Ec2Error> {
    let id = SecurityGroupRuleId::parse(text)?;
    let mut groups = draft.all::<SecurityGroup>();
    let group = groups.find(|g| g.rules.iter().any(|r| r.id == id)).cloned();
    drop(groups);
    let mut group = group.ok_or_else(|| SecurityGroupRuleId::not_found(text))?;
    let rule = group.rules.iter_mut().find(|r| r.id == id);
    let rule = rule.ok_or_else(|| SecurityGroupRuleId::not_found(text))?;
    if let Some(new) = new {
        rule.tags = new;
    }
    let tags = rule.tags.clone();
    draft.put(group);
    Ok(tags)
}

pub(super) fn describe_tags(draft: &mut Draft<'_>, c: &DescribeTags) -> Outcome {
    let mut items = Vec::new();
    macro_rules! collect {
        ($($type:ident => $kind:ident),* $(,)?) => {
            $(for r in draft.all::<$type>() {
                describe_tags_of(&mut items, &r.id.to_string(), Kind::$kind, &r.tags);
            })*
        };
    }
    collect! {
        Vpc => Vpc,
        Subnet => Subnet,
        SecurityGroup => SecurityGroup,
        InternetGateway => InternetGateway,
        RouteTable => RouteTable,
        NetworkInterface => NetworkInterface,
        Instance => Instance,
        Address => Address,
        KeyPair => KeyPair,
        Image => Image,
    }
    for rule in draft.all::<SecurityGroup>().flat_map(|g| &g.rules) {
        describe_tags_of(
            &mut items,
            &rule.id.to_string(),
            Kind::SecurityGroupRule,
            &rule.tags,
        );
    }
    let selection = Selection {
        filters: &c.filters,
        max_results: c.max_results,
        next_token: c.next_token.as_deref(),
        by_id: false,
    };
    let (tags, next_token) = select(items, selection)?;
    Ok(DescribeTagsResult { next_token, tags }.into())
}

fn describe_tags_of(items: &mut Vec<TagDescription>, id: &str, kind: Kind, tags: &Tags) {
    items.extend(tags.iter().map(|(key, value)| TagDescription {
        key: Some(key.clone()),
        resource_id: Some(id.to_owned()),
        resource_type: Some(kind.to_string()),
        value: Some(value.clone()),
    }));
}

impl Item for TagDescription {
    const FIELDS: &'static [Field<Self>] = &[
        ("key", |t| text(&t.key)),
        ("resource-id", |t| text(&t.resource_id)),
        ("resource-type", |t| text(&t.resource_type)),
        ("value", |t| text(&t.value)),
    ];

    fn key(&self) -> String {
        let id = self.resource_id.as_deref().unwrap_or_default();
        format!("{id}\u{0}{}", self.key.as_deref().unwrap_or_default())
    }

    fn tags(&self) -> &[Tag] {
        &[]
    }
}

pub(super) fn import_key_pair(draft: &mut Draft<'_>, c: &ImportKeyPair) -> Outcome {
    use base64::Engine as _;
    let name = required("keyName", &c.key_name)?;
    let material = required("publicKeyMaterial", &c.public_key_material)?;
    let malformed = || {
        Ec2Error::new(
            ErrorCode::InvalidKeyFormat,
            "Key is not in valid OpenSSH public key format",
        )
    };
    // The request carries the key's text in base64.
    let compact: String = material.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(compact)
        .map_err(|_| malformed())?;
    let public_key = String::from_utf8(decoded)
        .map_err(|_| malformed())?
        .trim()
        .to_owned();
    let known = ["ssh-rsa ", "ssh-ed25519 "]
        .iter()
        .any(|kind| public_key.starts_with(kind));
    if !known || public_key.len() > MAX_KEY_BYTES || public_key.contains(['\n', '\r', '\0']) {
        return Err(malformed());
    }
    if draft.all::<KeyPair>().any(|pair| pair.name == name) {
        return Err(Ec2Error::new(
            ErrorCode::InvalidKeyPairDuplicate,
            format!("The keypair '{}' already exists.", clip(name)),
        ));
    }
    if name.chars().count() > 255 || name.contains(char::is_control) {
        return Err(Ec2Error::invalid_value(
            "Key names have at most 255 printable characters.",
        ));
    }
    let tags = tags(&c.tag_specifications, Kind::KeyPair)?;
    let have = draft.all::<KeyPair>().count();
    within(
        have,
        1,
        quota::KEY_PAIRS_PER_REGION,
        ErrorCode::KeyPairLimitExceeded,
        "key pairs",
    )?;
    let pair = KeyPair {
        id: draft.fresh_id::<KeyPair>(),
        name: name.to_owned(),
        public_key,
        created: draft.now,
        tags,
    };
    let result = ImportKeyPairResult {
        key_name: Some(pair.name.clone()),
        key_pair_id: Some(pair.id.to_string()),
        tags: show_tags(&pair.tags),
        ..ImportKeyPairResult::default()
    };
    draft.put(pair);
    Ok(result.into())
}

pub(super) fn delete_key_pair(draft: &mut Draft<'_>, c: &DeleteKeyPair) -> Outcome {
    let found = match (c.key_pair_id.as_deref(), c.key_name.as_deref()) {
        (Some(text), _) => KeyPairId::parse(text)
            .ok()
            .filter(|id| draft.get::<KeyPair>(*id).is_some()),
        (None, Some(name)) => draft.all::<KeyPair>().find(|p| p.name == name).map(|p| p.id),
        (None, None) => return Err(Ec2Error::missing("keyName")),
    };
    // Deleting what is not there succeeds, as on EC2.
    if let Some(id) = found {
        draft.delete::<KeyPair>(id);
    }
    Ok(DeleteKeyPairResult {
        return_: Some(true),
        key_pair_id: found.map(|id| id.to_string()),
    }
    .into())
}

pub(super) fn describe_key_pairs(draft: &mut Draft<'_>, c: &DescribeKeyPairs) -> Outcome {
    let unknown = |name: &str| {
        let message = format!("The key pair '{}' does not exist", clip(name));
        Ec2Error::new(ErrorCode::InvalidKeyPairNotFound, message)
    };
    let mut found: Vec<&KeyPair> = Vec::new();
    for name in &c.key_names {
        found.push(
            draft
                .all::<KeyPair>()
                .find(|p| p.name == *name)
                .ok_or_else(|| unknown(name))?,
        );
    }
    for id in &c.key_pair_ids {
        found.push(draft.find(id)?);
    }
    if c.key_names.is_empty() && c.key_pair_ids.is_empty() {
        found.extend(draft.all::<KeyPair>());
    }
    let with_key = c.include_public_key == Some(true);
    let items = found.into_iter().map(|pair| shape::KeyPairInfo {
        key_pair_id: Some(pair.id.to_string()),
        key_type: Some(
            if pair.public_key.starts_with("ssh-rsa ") {
                "rsa"
            } else {
                "ed25519"
            }
            .into(),
        ),
        tags: show_tags(&pair.tags),
        public_key: with_key.then(|| pair.public_key.clone()),
        create_time: Some(pair.created),
        key_name: Some(pair.name.clone()),
        key_fingerprint: None,
    });
    let selection = Selection {
        filters: &c.filters,
        ..Selection::default()
    };
    let (key_pairs, _) = select(items.collect(), selection)?;
    Ok(DescribeKeyPairsResult { key_pairs }.into())
}

impl Item for shape::KeyPairInfo {
    const FIELDS: &'static [Field<Self>] = &[
        ("key-pair-id", |p| text(&p.key_pair_id)),
        ("key-name", |p| text(&p.key_name)),
    ];

    fn key(&self) -> String {
        self.key_pair_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[Tag] {
        &self.tags
    }
}

pub(super) fn describe_availability_zones(draft: &mut Draft<'_>, c: &DescribeAvailabilityZones) -> Outcome {
    let zones = zone::zones(&draft.scope.region);
    let unknown =
        |text: &str| Ec2Error::invalid_value(format!("Invalid availability zone: [{}]", clip(text)));
    for name in &c.zone_names {
        zones
            .iter()
            .find(|z| z.name == *name)
            .ok_or_else(|| unknown(name))?;
    }
    for id in &c.zone_ids {
        zones.iter().find(|z| z.id == *id).ok_or_else(|| unknown(id))?;
    }
    let all = c.zone_names.is_empty() && c.zone_ids.is_empty();
    let wanted = zones
        .iter()
        .filter(|z| all || c.zone_names.contains(&z.name) || c.zone_ids.contains(&z.id));
    let region = draft.scope.region.as_str();
    let items = wanted.map(|z| shape::AvailabilityZone {
        opt_in_status: Some("opt-in-not-required".into()),
        region_name: Some(region.into()),
        zone_name: Some(z.name.clone()),
        zone_id: Some(z.id.clone()),
        group_name: Some(region.into()),
        network_border_group: Some(region.into()),
        zone_type: Some("availability-zone".into()),
        state: Some("available".into()),
    });
    let selection = Selection {
        filters: &c.filters,
        ..Selection::default()
    };
    let (availability_zones, _) = select(items.collect(), selection)?;
    Ok(DescribeAvailabilityZonesResult { availability_zones }.into())
}

impl Item for shape::AvailabilityZone {
    const FIELDS: &'static [Field<Self>] = &[
        ("group-name", |z| text(&z.group_name)),
        ("opt-in-status", |z| text(&z.opt_in_status)),
        ("region-name", |z| text(&z.region_name)),
        ("state", |z| text(&z.state)),
        ("zone-id", |z| text(&z.zone_id)),
        ("zone-name", |z| text(&z.zone_name)),
        ("zone-type", |z| text(&z.zone_type)),
    ];

    fn key(&self) -> String {
        self.zone_name.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[Tag] {
        &[]
    }
}

pub(super) fn describe_regions(draft: &mut Draft<'_>, c: &DescribeRegions) -> Outcome {
    let own = draft.scope.region.as_str();
    let mut names = REGIONS.to_vec();
    if !names.contains(&own) {
        names.push(own);
    }
    for name in &c.region_names {
        if !names.contains(&name.as_str()) {
            return Err(Ec2Error::invalid_value(format!(
                "Invalid region provided: {}",
                clip(name)
            )));
        }
    }
    names.retain(|name| c.region_names.is_empty() || c.region_names.iter().any(|wanted| wanted == name));
    let items = names.into_iter().map(|name| shape::Region {
        opt_in_status: Some("opt-in-not-required".into()),
        region_name: Some(name.into()),
        endpoint: Some(format!("ec2.{name}.amazonaws.com")),
    });
    let selection = Selection {
        filters: &c.filters,
        ..Selection::default()
    };
    let (regions, _) = select(items.collect(), selection)?;
    Ok(DescribeRegionsResult { regions }.into())
}

impl Item for shape::Region {
    const FIELDS: &'static [Field<Self>] = &[
        ("endpoint", |r| text(&r.endpoint)),
        ("opt-in-status", |r| text(&r.opt_in_status)),
        ("region-name", |r| text(&r.region_name)),
    ];

    fn key(&self) -> String {
        self.region_name.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[Tag] {
        &[]
    }
}

pub(super) fn describe_account_attributes(draft: &mut Draft<'_>, c: &DescribeAccountAttributes) -> Outcome {
    let default_vpc = draft.all::<Vpc>().find(|vpc| vpc.is_default);
    let default_vpc = default_vpc.map_or_else(|| "none".to_owned(), |vpc| vpc.id.to_string());
    let addresses = draft.model.quotas.addresses_per_region.to_string();
    let attributes = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", default_vpc),
        ("max-instances", quota::INSTANCES_PER_REGION.to_string()),
        (
            "vpc-max-security-groups-per-interface",
            quota::SECURITY_GROUPS_PER_INTERFACE.to_string(),
        ),
        ("max-elastic-ips", addresses.clone()),
        ("vpc-max-elastic-ips", addresses),
    ];
    for name in &c.attribute_names {
        if !attributes.iter().any(|(known, _)| known == name) {
            return Err(Ec2Error::invalid_value(format!(
                "Invalid account attribute: {}",
                clip(name)
            )));
        }
    }
    let wanted = |name: &&str| c.attribute_names.is_empty() || c.attribute_names.iter().any(|w| w == name);
    let shown = attributes.into_iter().filter(|(name, _)| wanted(name));
    let shown = shown.map(|(name, value)| shape::AccountAttribute {
        attribute_name: Some(name.to_owned()),
        attribute_values: vec![shape::AccountAttributeValue {
            attribute_value: Some(value),
        }],
    });
    Ok(DescribeAccountAttributesResult {
        account_attributes: shown.collect(),
    }
    .into())
}

/// Longer than any RSA key that EC2 takes.
const MAX_KEY_BYTES: usize = 8 * 1024;
