//! A model with a clock and a seed, driven as the control process drives it.

use jiff::Timestamp;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use trinic_switch::tables::{Interface, Tables};
use trinic_vpc::command::*;
use trinic_vpc::ids::{InstanceId, NetworkInterfaceId};
use trinic_vpc::quota::Quotas;
use trinic_vpc::reply::Reply;
use trinic_vpc::resource::Event;
use trinic_vpc::shape::{self, Filter, IpPermission, IpRange};
use trinic_vpc::{
    AccountId, CardReport, Context, Ec2Error, ErrorCode, Model, RegionName, Scope, compile, compile_events,
};

pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) tables: Tables,
    pub(crate) context: Context,
    pub(crate) rng: ChaCha8Rng,
}

/// The members of a reply of the expected action.
macro_rules! reply {
    ($world:expr, $variant:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {{
        let command = trinic_vpc::command::$variant { $($field $(: $value)?,)* ..Default::default() };
        match $world.run(trinic_vpc::command::Command::$variant(command)) {
            Ok(trinic_vpc::reply::Reply::$variant(result)) => result,
            other => panic!("{}: {other:?}", stringify!($variant)),
        }
    }};
}
pub(crate) use reply;

/// Success of an action without a reply of its own.
macro_rules! done {
    ($world:expr, $variant:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {{
        let command = trinic_vpc::command::$variant { $($field $(: $value)?,)* ..Default::default() };
        match $world.run(trinic_vpc::command::Command::$variant(command)) {
            Ok(trinic_vpc::reply::Reply::Done) => {}
            other => panic!("{}: {other:?}", stringify!($variant)),
        }
    }};
}
pub(crate) use done;

/// The code of a refused action.
macro_rules! refused {
    ($world:expr, $variant:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {{
        let command = trinic_vpc::command::$variant { $($field $(: $value)?,)* ..Default::default() };
        match $world.run(trinic_vpc::command::Command::$variant(command)) {
            Err(error) => error.code.as_str(),
            Ok(reply) => panic!("{} was not refused: {reply:?}", stringify!($variant)),
        }
    }};
}
pub(crate) use refused;

impl Default for World {
    fn default() -> Self {
        Self::new(1)
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            model: Model::new(Quotas::NEW_ACCOUNT),
            tables: Tables::default(),
            context: Context {
                scope: scope(0, "us-east-1"),
                now: Timestamp::from_second(1_700_000_000).unwrap(),
            },
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Decides, applies, and keeps the tables by the incremental form; everything is checked after.
    pub(crate) fn run(&mut self, command: Command) -> Result<Reply, Ec2Error> {
        let (events, reply) = self.model.decide(&self.context, &mut self.rng, &command)?;
        self.take(&events);
        Ok(reply)
    }

    pub(crate) fn report(&mut self, report: CardReport) {
        let events = self.model.report(self.context.now, &mut self.rng, &report);
        self.take(&events);
    }

    pub(crate) fn take(&mut self, events: &[Event]) {
        for event in events {
            self.model.apply(event);
        }
        let (upserts, removals) = compile_events(&self.model, events);
        for id in removals {
            self.tables.entries.remove(&id);
        }
        for entry in upserts {
            self.tables.entries.insert(entry.id().clone(), entry);
        }
        assert_eq!(self.tables, compile(&self.model), "the incremental tables differ");
        assert_eq!(self.model.violations(), Vec::<String>::new());
    }

    pub(crate) fn wait(&mut self, seconds: i64) {
        let now = self.context.now.as_second() + seconds;
        self.context.now = Timestamp::from_second(now).unwrap();
    }

    pub(crate) fn default_vpc(&mut self) -> shape::Vpc {
        let filters = vec![filter("is-default", &["true"])];
        reply!(self, DescribeVpcs { filters }).vpcs.remove(0)
    }

    pub(crate) fn default_subnet(&mut self) -> String {
        let subnets = reply!(self, DescribeSubnets {}).subnets;
        let mut subnets: Vec<_> = subnets
            .into_iter()
            .filter(|s| s.default_for_az == Some(true))
            .collect();
        subnets.sort_by(|a, b| a.availability_zone.cmp(&b.availability_zone));
        subnets.remove(0).subnet_id.unwrap()
    }

    pub(crate) fn vpc(&mut self, block: &str) -> String {
        let vpc = reply!(
            self,
            CreateVpc {
                cidr_block: Some(block.into())
            }
        )
        .vpc
        .unwrap();
        vpc.vpc_id.unwrap()
    }

    pub(crate) fn subnet(&mut self, vpc: &str, block: &str) -> String {
        let result = reply!(
            self,
            CreateSubnet {
                vpc_id: vpc.into(),
                cidr_block: Some(block.into())
            }
        );
        result.subnet.unwrap().subnet_id.unwrap()
    }

    pub(crate) fn interface(&mut self, subnet: &str) -> shape::NetworkInterface {
        let result = reply!(
            self,
            CreateNetworkInterface {
                subnet_id: subnet.into()
            }
        );
        result.network_interface.unwrap()
    }

    pub(crate) fn interface_id(&mut self, subnet: &str) -> String {
        self.interface(subnet).network_interface_id.unwrap()
    }

    /// Launches an instance and lets the card report it.
    pub(crate) fn running(&mut self, subnet: &str) -> shape::Instance {
        self.running_type(subnet, "m5.4xlarge")
    }

    pub(crate) fn running_type(&mut self, subnet: &str, kind: &str) -> shape::Instance {
        let mut launch = launch();
        launch.subnet_id = Some(subnet.into());
        launch.instance_type = Some(kind.into());
        let Ok(Reply::RunInstances(result)) = self.run(Command::RunInstances(launch)) else {
            panic!("the launch was refused");
        };
        let id = result.instances[0].instance_id.clone().unwrap();
        self.report(CardReport::InstanceRunning {
            instance_id: instance_id(&id),
        });
        self.show(&id)
    }

    pub(crate) fn show(&mut self, instance: &str) -> shape::Instance {
        let result = reply!(
            self,
            DescribeInstances {
                instance_ids: vec![instance.into()]
            }
        );
        result
            .reservations
            .into_iter()
            .next()
            .unwrap()
            .instances
            .remove(0)
    }

    pub(crate) fn show_interface(&mut self, interface: &str) -> shape::NetworkInterface {
        let ids = vec![interface.to_owned()];
        reply!(
            self,
            DescribeNetworkInterfaces {
                network_interface_ids: ids
            }
        )
        .network_interfaces
        .remove(0)
    }

    pub(crate) fn table(&self, interface: &str) -> Interface {
        self.tables.interface(interface).unwrap().clone()
    }

    pub(crate) fn attach(&mut self, interface: &str, instance: &str, index: i32) -> String {
        let result = reply!(
            self,
            AttachNetworkInterface {
                network_interface_id: interface.into(),
                instance_id: instance.into(),
                device_index: Some(index),
            }
        );
        self.report(CardReport::InterfaceAttached {
            interface_id: interface_id(interface),
            instance_id: instance_id(instance),
        });
        result.attachment_id.unwrap()
    }
}

pub(crate) fn scope(account: u64, region: &str) -> Scope {
    Scope {
        account: AccountId::new(account).unwrap(),
        region: RegionName::parse(region).unwrap(),
    }
}

pub(crate) fn launch() -> RunInstances {
    RunInstances {
        image_id: Some("ami-12345678".into()),
        instance_type: Some("t3.micro".into()),
        min_count: Some(1),
        max_count: Some(1),
        ..RunInstances::default()
    }
}

pub(crate) fn filter(name: &str, values: &[&str]) -> Filter {
    Filter {
        name: Some(name.into()),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    }
}

pub(crate) fn tcp(port: i32, block: &str) -> IpPermission {
    IpPermission {
        ip_protocol: Some("tcp".into()),
        from_port: Some(port),
        to_port: Some(port),
        ip_ranges: vec![IpRange {
            cidr_ip: Some(block.into()),
            description: None,
        }],
        ..IpPermission::default()
    }
}

pub(crate) fn instance_id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

pub(crate) fn interface_id(text: &str) -> NetworkInterfaceId {
    text.parse().unwrap()
}

pub(crate) fn code(result: Result<Reply, Ec2Error>) -> ErrorCode {
    match result {
        Err(error) => error.code,
        Ok(reply) => panic!("not refused: {reply:?}"),
    }
}
