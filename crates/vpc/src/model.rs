//! The model: all resources of all scopes, and the one way to change them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rand::Rng;

use crate::action;
use crate::command::Command;
use crate::draft::Draft;
use crate::error::{Ec2Error, ErrorCode};
use crate::ids::{
    AnyId, ImageId, InstanceId, NetworkInterfaceId, ResourceId, RouteTableId, SecurityGroupId, SubnetId,
    VpcId,
};
use crate::quota;
use crate::quota::Quotas;
use crate::region::{Link, Region};
use crate::reply::Reply;
use crate::report::{self, CardReport};
use crate::resource::{
    BUILT_IN_IMAGE, Event, Instance, InstanceState, NetworkInterface, Resource, ResourceKey, RouteTable,
    SecurityGroup, Subnet, Vpc,
};
use crate::scope::Scope;

/// Who calls, where, and when.
#[derive(Debug, Clone)]
pub struct Context {
    /// Account and region.
    pub scope: Scope,
    /// Wall time, for what the API shows.
    pub now: Timestamp,
}

/// All resources of all accounts and regions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    regions: BTreeMap<Scope, Region>,
    /// Limits that depend on the account's standing.
    pub quotas: Quotas,
    /// Whose interfaces are held to the allowances of their instance's type.
    pub policing: Policing,
}

/// Whose interfaces are held to the allowances of their instance's type: bandwidth, packets, connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policing {
    /// Nobody's.
    Nobody,
    /// Those of virtual machines, which have an ENA that counts what it is not allowed.
    #[default]
    Machines,
    /// Everybody's.
    Everybody,
}

impl Policing {
    /// Whether an instance is held to its type's allowances.
    pub fn covers(self, instance: &Instance) -> bool {
        match self {
            Self::Nobody => false,
            Self::Machines => instance.vm.is_some(),
            Self::Everybody => true,
        }
    }
}

impl Model {
    /// A model without resources.
    pub fn new(quotas: Quotas) -> Self {
        Self {
            regions: BTreeMap::new(),
            quotas,
            policing: Policing::default(),
        }
    }

    /// Decides a call: what changes and what the caller is told. The model itself stays as it is until
    /// the events come back through [`Model::apply`].
    ///
    /// The first call in a scope, whatever it is, also makes what EC2 gives every account: the default
    /// VPC. So even a Describe can return events.
    pub fn decide(
        &self,
        context: &Context,
        rng: &mut dyn Rng,
        command: &Command,
    ) -> Result<(Vec<Event>, Reply), Ec2Error> {
        let mut draft = Draft::new(self, context, rng);
        action::ensure_home(&mut draft)?;
        let reply = action::perform(&mut draft, command)?;
        if command.dry_run() {
            return Err(Ec2Error::new(
                ErrorCode::DryRunOperation,
                "Request would have succeeded, but DryRun flag is set.",
            ));
        }
        Ok((draft.into_events(), reply))
    }

    /// Decides what a card's report changes.
    pub fn report(&self, now: Timestamp, rng: &mut dyn Rng, report: &CardReport) -> Vec<Event> {
        let Some(scope) = self.scope_of(AnyId::Instance(report.instance_id())) else {
            return Vec::new();
        };
        let context = Context { scope, now };
        let mut draft = Draft::new(self, &context, rng);
        report::take(&mut draft, report);
        draft.into_events()
    }

    /// Decides what the passing of time changes: instances that have been terminated for
    /// [`quota::TERMINATED_VISIBLE_S`] are forgotten.
    pub fn expire(&self, now: Timestamp) -> Vec<Event> {
        let old = |instance: &Instance| {
            let since = instance.terminated.map(|t| now.as_second() - t.as_second());
            instance.state == InstanceState::Terminated
                && since.is_some_and(|s| s >= quota::TERMINATED_VISIBLE_S)
        };
        let mut events = Vec::new();
        for (scope, region) in &self.regions {
            for instance in region.instances.values().filter(|i| old(i)) {
                events.push(Event::Delete(ResourceKey {
                    scope: scope.clone(),
                    id: AnyId::Instance(instance.id),
                }));
            }
        }
        events
    }

    /// Applies an event that `decide`, `report` or `expire` returned, or that a store kept.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Put(scope, resource) => match self.regions.get_mut(scope) {
                Some(region) => region.put(resource),
                None => self.regions.entry(scope.clone()).or_default().put(resource),
            },
            Event::Delete(key) => {
                if let Some(region) = self.regions.get_mut(&key.scope) {
                    region.delete(key.id);
                }
            }
        }
    }

    /// The scopes that have had a call.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.regions.keys()
    }

    /// All resources, for a store that starts empty or a dump.
    pub fn resources(&self) -> impl Iterator<Item = (ResourceKey, Resource)> {
        self.regions.iter().flat_map(|(scope, region)| {
            region.ids().filter_map(move |id| {
                let key = ResourceKey {
                    scope: scope.clone(),
                    id,
                };
                region.resource(id).map(|resource| (key, resource))
            })
        })
    }

    /// The scope that has a resource.
    pub fn scope_of(&self, id: AnyId) -> Option<Scope> {
        let mut found = self.regions.iter().filter(|(_, region)| match id {
            AnyId::Instance(id) => region.instances.contains_key(&id),
            AnyId::NetworkInterface(id) => region.interfaces.contains_key(&id),
            other => region.resource(other).is_some(),
        });
        found.next().map(|(scope, _)| scope.clone())
    }

    /// The instances of all scopes.
    pub fn instances(&self) -> impl Iterator<Item = (&Scope, &Instance)> {
        let regions = self.regions.iter();
        regions.flat_map(|(scope, region)| region.instances.values().map(move |i| (scope, i)))
    }

    /// The interfaces of all scopes.
    pub fn interfaces(&self) -> impl Iterator<Item = (&Scope, &NetworkInterface)> {
        let regions = self.regions.iter();
        regions.flat_map(|(scope, region)| region.interfaces.values().map(move |i| (scope, i)))
    }

    /// An instance and the scope that it is in.
    pub fn instance(&self, id: InstanceId) -> Option<(&Scope, &Instance)> {
        self.lookup(|region| region.instances.get(&id))
    }

    /// An interface and the scope that it is in.
    pub fn interface(&self, id: NetworkInterfaceId) -> Option<(&Scope, &NetworkInterface)> {
        self.lookup(|region| region.interfaces.get(&id))
    }

    /// The interfaces of an instance by network card and device index.
    pub fn interfaces_of(&self, instance: InstanceId) -> Vec<&NetworkInterface> {
        let Some((scope, _)) = self.instance(instance) else {
            return Vec::new();
        };
        let Some(region) = self.regions.get(scope) else {
            return Vec::new();
        };
        let mut found: Vec<_> = region
            .linked(&Link::AtInstance(instance))
            .filter_map(|id| match id {
                AnyId::NetworkInterface(id) => region.interfaces.get(&id),
                _ => None,
            })
            .collect();
        found.sort_by_key(|interface| {
            let attachment = interface.attachment.as_ref();
            attachment.map(|a| (a.network_card_index, a.device_index))
        });
        found
    }

    /// A VPC.
    pub fn vpc(&self, id: VpcId) -> Option<&Vpc> {
        self.lookup(|region| region.vpcs.get(&id)).map(|(_, found)| found)
    }

    /// A subnet.
    pub fn subnet(&self, id: SubnetId) -> Option<&Subnet> {
        self.lookup(|region| region.subnets.get(&id))
            .map(|(_, found)| found)
    }

    /// A security group.
    pub fn security_group(&self, id: SecurityGroupId) -> Option<&SecurityGroup> {
        self.lookup(|region| region.groups.get(&id))
            .map(|(_, found)| found)
    }

    /// A route table.
    pub fn route_table(&self, id: RouteTableId) -> Option<&RouteTable> {
        self.lookup(|region| region.route_tables.get(&id))
            .map(|(_, found)| found)
    }

    /// Whether the scope has an image of this id, or the id is the built-in image's.
    pub fn has_image(&self, scope: &Scope, id: &str) -> bool {
        let of_ours = || {
            let id = ImageId::parse(id).ok()?;
            self.regions.get(scope)?.images.get(&id)
        };
        id == BUILT_IN_IMAGE || of_ours().is_some()
    }

    /// The public key of a key pair by its name.
    pub fn public_key(&self, scope: &Scope, name: &str) -> Option<&str> {
        let mut pairs = self.regions.get(scope)?.key_pairs.values();
        pairs
            .find(|pair| pair.name == name)
            .map(|pair| pair.public_key.as_str())
    }

    /// The resources of a scope.
    pub(crate) fn region(&self, scope: &Scope) -> Option<&Region> {
        self.regions.get(scope)
    }

    /// All scopes with their resources.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (&Scope, &Region)> {
        self.regions.iter()
    }

    /// Whether a link leads to anything in any scope: for what is unique across accounts.
    pub(crate) fn is_linked_anywhere(&self, link: &Link) -> bool {
        self.regions
            .values()
            .any(|region| region.linked(link).next().is_some())
    }

    fn lookup<'m, T>(&'m self, get: impl Fn(&'m Region) -> Option<&'m T>) -> Option<(&'m Scope, &'m T)> {
        let mut regions = self.regions.iter();
        regions.find_map(|(scope, region)| get(region).map(|found| (scope, found)))
    }
}
