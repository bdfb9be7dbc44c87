//! A call in progress: the scope's resources as the call has changed them so far.
//!
//! The model is only read. What the call puts or deletes lies in an overlay of the same type, so that
//! a look-up is one in the overlay's index and one in the model's, and a call costs what it touches,
//! not what the account has. At the end the overlay becomes the call's events; dropping it is the
//! rollback.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rand::Rng;

use crate::error::Ec2Error;
use crate::ids::{AnyId, InstanceId, NetworkInterfaceId, ResourceId};
use crate::model::{Context, Model};
use crate::region::{Link, Region, Stored};
use crate::resource::{Event, Home, NetworkInterface, Resource, ResourceKey};
use crate::scope::Scope;

/// A call in progress.
pub(crate) struct Draft<'m> {
    /// All scopes, for what is unique across them.
    pub(crate) model: &'m Model,
    base: &'m Region,
    over: Region,
    touched: BTreeSet<AnyId>,
    /// Whose and where.
    pub(crate) scope: Scope,
    /// Wall time.
    pub(crate) now: Timestamp,
    /// Random source of ids, MACs and addresses.
    pub(crate) rng: &'m mut dyn Rng,
}

impl<'m> Draft<'m> {
    /// A call that has changed nothing yet.
    pub(crate) fn new(model: &'m Model, context: &Context, rng: &'m mut dyn Rng) -> Self {
        Self {
            model,
            base: model.region(&context.scope).unwrap_or(&EMPTY),
            over: Region::new(),
            touched: BTreeSet::new(),
            scope: context.scope.clone(),
            now: context.now,
            rng,
        }
    }

    /// Whether the account has been in this region.
    pub(crate) fn has_home(&self) -> bool {
        self.base.home.is_some() || self.over.home.is_some()
    }

    /// Marks that the account has been in this region.
    pub(crate) fn put_home(&mut self) {
        self.touched.insert(AnyId::Home);
        self.over.put(&Resource::Home(Home { created: self.now }));
    }

    /// The resource with this id.
    pub(crate) fn get<T: Stored>(&self, id: T::Id) -> Option<&T> {
        let region = if self.touched.contains(&T::any_id(id)) {
            &self.over
        } else {
            self.base
        };
        T::map(region).get(&id)
    }

    /// The resource that a caller's text names, or the error for text that names none.
    pub(crate) fn find<T: Stored>(&self, text: &str) -> Result<&T, Ec2Error> {
        let id = T::Id::parse(text)?;
        self.get(id).ok_or_else(|| T::Id::not_found(text))
    }

    /// As [`Draft::find`], for a parameter that the action needs.
    pub(crate) fn need<T: Stored>(&self, parameter: &str, text: &str) -> Result<&T, Ec2Error> {
        if text.is_empty() {
            return Err(Ec2Error::missing(parameter));
        }
        self.find(text)
    }

    /// All resources of a type, in no particular order.
    pub(crate) fn all<T: Stored + 'm>(&self) -> impl Iterator<Item = &T> {
        let base = T::map(self.base).values();
        let base = base.filter(|r| !self.touched.contains(&T::any_id(r.id())));
        base.chain(T::map(&self.over).values())
    }

    /// The resources that a link leads to.
    pub(crate) fn linked<'d>(&'d self, link: &Link) -> impl Iterator<Item = AnyId> + use<'d, 'm> {
        let base = self.base.linked(link).filter(|id| !self.touched.contains(id));
        base.chain(self.over.linked(link))
    }

    /// Whether a link leads to anything.
    pub(crate) fn is_linked(&self, link: &Link) -> bool {
        self.linked(link).next().is_some()
    }

    /// The interfaces that a link leads to.
    pub(crate) fn interfaces<'d>(
        &'d self,
        link: &Link,
    ) -> impl Iterator<Item = &'d NetworkInterface> + use<'d, 'm> {
        self.linked(link).filter_map(|id| match id {
            AnyId::NetworkInterface(id) => self.get(id),
            _ => None,
        })
    }

    /// The interfaces of an instance by network card and device index.
    pub(crate) fn interfaces_of(&self, instance: InstanceId) -> Vec<&NetworkInterface> {
        let mut found: Vec<_> = self.interfaces(&Link::AtInstance(instance)).collect();
        found.sort_by_key(|interface| {
            let attachment = interface.attachment.as_ref();
            attachment.map(|a| (a.network_card_index, a.device_index))
        });
        found
    }

    /// Puts a resource, new or changed.
    pub(crate) fn put<T: Stored>(&mut self, resource: T) {
        let resource = resource.into_resource();
        self.touched.insert(resource.id());
        self.over.put(&resource);
    }

    /// Deletes a resource.
    pub(crate) fn delete<T: Stored>(&mut self, id: T::Id) {
        let id = T::any_id(id);
        self.touched.insert(id);
        self.over.delete(id);
    }

    /// Changes a resource that is there; nothing happens if it is not.
    pub(crate) fn change<T: Stored>(&mut self, id: T::Id, change: impl FnOnce(&mut T)) {
        if let Some(mut resource) = self.get::<T>(id).cloned() {
            change(&mut resource);
            self.put(resource);
        }
    }

    /// As [`Draft::change`] for an interface.
    pub(crate) fn change_interface(
        &mut self,
        id: NetworkInterfaceId,
        change: impl FnOnce(&mut NetworkInterface),
    ) {
        self.change(id, change);
    }

    /// A new id that no resource of the type has here.
    pub(crate) fn fresh_id<T: Stored>(&mut self) -> T::Id {
        loop {
            let id = T::Id::random(self.rng);
            if self.get::<T>(id).is_none() {
                return id;
            }
        }
    }

    /// An ARN of a resource of this scope.
    pub(crate) fn arn(&self, resource: impl std::fmt::Display) -> String {
        format!(
            "arn:aws:ec2:{}:{}:{resource}",
            self.scope.region, self.scope.account
        )
    }

    /// What the call changed, in the order of kind and id.
    pub(crate) fn into_events(self) -> Vec<Event> {
        let scope = self.scope;
        let mut events = Vec::new();
        for id in self.touched {
            let before = self.base.resource(id);
            match self.over.resource(id) {
                Some(after) if before.as_ref() == Some(&after) => {}
                Some(after) => events.push(Event::Put(scope.clone(), after)),
                None if before.is_some() => events.push(Event::Delete(ResourceKey {
                    scope: scope.clone(),
                    id,
                })),
                None => {}
            }
        }
        events
    }
}

/// What a scope looks like before its first call.
static EMPTY: Region = Region::new();
