//! Namespaces and what netlink does in them, the probe, and the suite as an ordinary user.

use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::process::Command;

use libtest_mimic::Trial;
use trinic_host::link::{Address, LinkChange, Route, VethEnd};
use trinic_host::netns::{read_sysctl, write_sysctl};
use trinic_host::probe::Probe;
use trinic_host::{Error, MacAddress, NetNs, Netlink};

use crate::support::{Host, output};

pub(crate) fn trials(host: &Host) -> Vec<Trial> {
    let need = &host.probe.network_namespaces;
    vec![
        host.trial("links_are_made_changed_and_removed", need, links),
        host.trial("addresses_become_exactly_what_is_wanted", need, addresses),
        host.trial("routes_and_neighbors", need, routes),
        host.trial("kernel_says_why", need, kernel_says_why),
        host.trial("sysctls_are_the_namespaces_own", need, sysctls),
        host.trial("announcement_is_seen_on_the_link", need, announcement),
        host.root_trial("named_namespace_is_seen_by_ip_netns", named_namespace),
        host.root_trial("names_that_are_paths_are_refused", bad_names),
        host.root_trial("probe_names_what_a_user_may_not", probe_as_user),
        host.root_trial("whole_suite_as_ordinary_user", suite_as_user),
        host.root_trial("user_has_taps_where_the_device_is_open", taps_as_user),
        host.root_trial("instances_run_where_proc_is_masked", masked_proc),
    ]
}

/// A namespace with one end of a cable as `eth0`, whose other end is in a second namespace.
fn cable() -> (NetNs, NetNs, Netlink, u32) {
    let (near, far) = (NetNs::create().unwrap(), NetNs::create().unwrap());
    let mut netlink = Netlink::open_in(&near).unwrap();
    let mac = Some(MacAddress([2, 0, 0, 0, 0, 1]));
    let a = VethEnd {
        name: "eth0",
        netns: None,
        mac,
        mtu: Some(9001),
    };
    let b = VethEnd {
        name: "other",
        netns: Some(&far),
        mac: None,
        mtu: Some(9001),
    };
    netlink.create_veth(&a, &b).unwrap();
    let index = netlink.link_by_name("eth0").unwrap().index;
    netlink.set_up(index, true).unwrap();
    (near, far, netlink, index)
}

fn address(text: &str) -> Address {
    let (ip, prefix_len) = text.split_once('/').unwrap();
    Address {
        ip: ip.parse().unwrap(),
        prefix_len: prefix_len.parse().unwrap(),
    }
}

fn links() {
    let (near, far, mut netlink, index) = cable();
    let link = netlink.link_by_name("eth0").unwrap();
    assert_eq!(
        (link.mtu, link.up, link.kind.as_deref()),
        (9001, true, Some("veth"))
    );
    assert_eq!(link.mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
    netlink.set_up(index, false).unwrap();
    let change = LinkChange {
        up: Some(true),
        name: Some("eth1".into()),
        mac: Some(MacAddress([2, 0, 0, 0, 0, 9])),
        mtu: Some(1400),
    };
    netlink.change_link(index, &change).unwrap();
    let links = netlink.links().unwrap();
    let link = links.iter().find(|link| link.index == index).unwrap();
    assert_eq!(
        (link.name.as_str(), link.mtu, link.mac, link.up),
        ("eth1", 1400, change.mac, true)
    );
    assert!(links.iter().any(|link| link.name == "lo"));
    netlink.delete_link(index).unwrap();
    assert!(netlink.link_by_name("eth1").is_err());
    let mut other = Netlink::open_in(&far).unwrap();
    assert!(other.link_by_name("other").is_err(), "the other end goes with it");
    drop(near);
}

fn addresses() {
    let (_near, _far, mut netlink, index) = cable();
    let present = |netlink: &mut Netlink| {
        let mut found = netlink.addresses(index).unwrap();
        found.retain(|address| !matches!(address.ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
        found.sort();
        found
    };
    for wanted in [
        vec!["10.0.0.5/24", "10.0.0.6/24", "2001:db8::5/64"],
        // The primary goes, a secondary of the same network stays.
        vec!["10.0.0.6/24", "10.0.0.7/24", "2001:db8::6/128"],
        vec!["10.0.0.6/24", "10.0.0.7/24", "2001:db8::6/128"],
        vec![],
    ] {
        let mut wanted: Vec<Address> = wanted.into_iter().map(address).collect();
        netlink.set_addresses(index, &wanted).unwrap();
        wanted.sort();
        assert_eq!(present(&mut netlink), wanted);
    }
    netlink.add_address(index, address("10.0.0.5/24")).unwrap();
    netlink.add_address(index, address("10.0.0.5/24")).unwrap();
    assert_eq!(present(&mut netlink), [address("10.0.0.5/24")]);
    netlink.delete_address(index, address("10.0.0.5/24")).unwrap();
    assert!(netlink.delete_address(index, address("10.0.0.5/24")).is_err());
}

fn routes() {
    let (near, _far, mut netlink, index) = cable();
    netlink
        .set_addresses(index, &[address("10.0.0.5/24"), address("2001:db8::5/64")])
        .unwrap();
    let v4 = Route::default_via("10.0.0.1".parse().unwrap(), index);
    let v6 = Route::default_via(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)), index);
    let link = Route::on_link(address("169.254.169.254/32"), index);
    let onlink = Route {
        gateway: Some("192.0.2.1".parse().unwrap()),
        onlink: true,
        metric: Some(50),
        source: Some("10.0.0.5".parse().unwrap()),
        ..Route::on_link(address("198.18.0.0/15"), index)
    };
    for route in [&v4, &v6, &link, &onlink, &v4] {
        netlink.replace_route(route).unwrap();
    }
    netlink
        .set_neighbor(index, "10.0.0.1".parse().unwrap(), MacAddress([2, 0, 0, 0, 0, 7]))
        .unwrap();
    let shown = near
        .run(|| ["ip -4 route", "ip -6 route", "ip neigh"].map(|command| output("sh", &["-c", command])))
        .unwrap();
    for (text, expected) in [
        (&shown[0], "default via 10.0.0.1 dev eth0"),
        (&shown[0], "169.254.169.254 dev eth0 proto static scope link"),
        (
            &shown[0],
            "198.18.0.0/15 via 192.0.2.1 dev eth0 proto static src 10.0.0.5 metric 50 onlink",
        ),
        (&shown[1], "default via fe80::1 dev eth0"),
        (&shown[2], "10.0.0.1 dev eth0 lladdr 02:00:00:00:00:07 PERMANENT"),
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    netlink.delete_route(&v4).unwrap();
    assert!(
        netlink.delete_route(&v4).is_err(),
        "it is gone, and there was one"
    );
}

fn kernel_says_why() {
    let (_near, _far, mut netlink, index) = cable();
    let unreachable = Route::default_via("192.0.2.1".parse().unwrap(), index);
    match netlink.replace_route(&unreachable).unwrap_err() {
        Error::Netlink { message, .. } => assert!(message.contains("invalid gateway"), "{message}"),
        other => panic!("{other:?}"),
    }
    let error = netlink.link_by_name("nothing").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    assert_eq!(error.to_string(), "Could not find the interface nothing");
}

fn sysctls() {
    let netns = NetNs::create().unwrap();
    let before = read_sysctl("net/ipv4/ip_forward").unwrap();
    netns
        .run(|| {
            for (path, value) in [
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv6/conf/all/accept_ra", "0"),
                ("net/ipv6/conf/default/disable_ipv6", "1"),
                ("net/ipv4/conf/all/rp_filter", "2"),
            ] {
                write_sysctl(path, value).unwrap();
                assert_eq!(read_sysctl(path).unwrap(), value);
            }
        })
        .unwrap();
    assert_eq!(
        read_sysctl("net/ipv4/ip_forward").unwrap(),
        before,
        "outside nothing has changed"
    );
    assert!(write_sysctl("kernel/panic", "1").is_err());
    assert!(write_sysctl("net/../kernel/panic", "1").is_err());
}

fn announcement() {
    use trinic_host::packet::{PacketOptions, PacketPort};
    use trinic_host::port::{Port, SLOT_BYTES};
    let (netns, card) = (NetNs::create().unwrap(), NetNs::create().unwrap());
    let mac = MacAddress([2, 0, 0, 0, 0, 3]);
    let options = PacketOptions {
        name: "eth0".into(),
        card_name: "card0".into(),
        mac: Some(mac),
        mtu: None,
        up: true,
    };
    let port = PacketPort::open(&netns, &card, &options).unwrap();
    let (index, ip) = (port.index(), "10.0.0.9".parse().unwrap());
    netns
        .run(|| trinic_host::link::announce_address(index, mac, ip).unwrap())
        .unwrap();
    let expected = trinic_host::link::gratuitous_arp(mac, ip);
    let mut buffer = vec![0u8; SLOT_BYTES];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        assert!(std::time::Instant::now() < deadline);
        if let Some(length) = port.read(&mut buffer).unwrap()
            && buffer[10..length] == expected
        {
            return;
        }
    }
}

fn named_namespace() {
    let name = format!("trinic-test-{}", std::process::id());
    let netns = NetNs::create().unwrap();
    let mut netlink = Netlink::open_in(&netns).unwrap();
    let lo = netlink.link_by_name("lo").unwrap().index;
    netlink.set_up(lo, true).unwrap();
    netlink.add_address(lo, address("10.77.0.1/32")).unwrap();
    netns.bind(&name).unwrap();
    assert!(netns.bind(&name).is_err(), "a name is given once");
    assert!(NetNs::names().unwrap().contains(&name));
    assert!(output("ip", &["netns", "list"]).contains(&name));
    assert!(output("ip", &["netns", "exec", &name, "ip", "addr"]).contains("10.77.0.1/32"));
    assert_eq!(
        NetNs::open_named(&name).unwrap().inode().unwrap(),
        netns.inode().unwrap()
    );
    NetNs::unbind(&name).unwrap();
    NetNs::unbind(&name).unwrap();
    assert!(!NetNs::names().unwrap().contains(&name));
    assert!(NetNs::open_named(&name).is_err());
}

fn bad_names() {
    let netns = NetNs::create().unwrap();
    for name in ["", ".", "..", "a/b", "../x", "a\0b"] {
        assert!(matches!(netns.bind(name), Err(Error::Invalid(_))), "{name:?}");
        assert!(matches!(NetNs::unbind(name), Err(Error::Invalid(_))), "{name:?}");
    }
}

/// The probe in a process of `nobody`.
fn probe_as_user() {
    let output = Command::new("/proc/self/exe")
        .arg("host-probe")
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    let probe: Probe = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!probe.root);
    println!("{probe:#?}");
    use std::os::unix::fs::MetadataExt;
    let closed = std::fs::metadata("/dev/net/tun").is_ok_and(|metadata| metadata.mode() & 0o006 != 0o006);
    if closed && probe.network_namespaces.works() {
        let advice = probe.taps.advice.clone().unwrap();
        assert!(advice.contains("chmod 0666 /dev/net/tun"), "{advice}");
        assert!(
            probe
                .complaints()
                .iter()
                .any(|line| line.starts_with("Taps do not work: Could not open"))
        );
    }
}

fn suite_as_user() {
    let mut command = Command::new("/proc/self/exe");
    // The same words as the outer suite, but no filter of its names.
    let output = command
        .uid(65_534)
        .gid(65_534)
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("as_user::instance_is_isolated"));
}

/// Runs part of the suite as `nobody` in a mount namespace that `setup` has changed; what it says.
fn suite_in_mounts(setup: &str, filter: &str) -> String {
    let program = std::fs::read_link("/proc/self/exe").unwrap();
    let run = format!(
        "{setup} && exec setpriv --reuid 65534 --regid 65534 --clear-groups {} {filter}",
        program.display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &run])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("test result: ok"));
    text
}

fn taps_as_user() {
    let setup = "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200";
    let text = suite_in_mounts(setup, "tap_");
    assert!(
        text.contains("as_user::tap_super_frames_both_ways") && !text.contains("SKIP"),
        "{text}"
    );
}

/// Containers cover parts of /proc, and the kernel then allows no new one.
fn masked_proc() {
    let text = suite_in_mounts("mount -t tmpfs tmpfs /proc/irq", "exec_returns_statuses");
    assert!(text.contains("1 passed"), "{text}");
}
