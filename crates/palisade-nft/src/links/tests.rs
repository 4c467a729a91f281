use super::*;
use crate::testing::in_new_namespace;
use crate::testing::net::{
    NODE, Namespace, Pod, add_address, add_bridge, add_macvlan, add_veth, pod_addresses, remove_link, set_master, up,
};

fn link_of(pod: &Pod, master: Master) -> PodLink {
    let link_local = pod.namespace.run(|| own_link_local("eth0"));
    PodLink {
        name: pod.link.clone(),
        index: crate::testing::net::index(&pod.link),
        namespace: 0,
        master,
        addresses: pod.addresses.to_vec(),
        link_local,
    }
}

/// The links without the numbers of their namespaces, which the kernel chooses.
fn without_numbers(mut links: Vec<PodLink>) -> Vec<PodLink> {
    for link in &mut links {
        link.namespace = 0;
    }
    links
}

/// The link-local addresses of an interface of the calling thread's namespace, as the kernel prints them.
#[expect(clippy::disallowed_methods, reason = "reads what the kernel prints")]
fn own_link_local(name: &str) -> Vec<Ipv6Addr> {
    let listing = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
    let mut found: Vec<Ipv6Addr> = listing
        .lines()
        .filter(|line| line.starts_with("fe80") && line.ends_with(&format!(" {name}")))
        .map(|line| Ipv6Addr::from(u128::from_str_radix(&line[..32], 16).unwrap()))
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn pods_are_found_with_their_addresses() {
    in_new_namespace(|| {
        up("lo");
        add_bridge("cni0");
        // The ends of a pair within the namespace lead to no pod, nor does the bridge.
        add_veth("inner0", "inner1", &Namespace::current());
        set_master("inner0", "cni0");
        let one = Pod::bridged("veth1", 1, "cni0");
        let ten = Pod::bridged("veth10", 10, "cni0");
        let two = Pod::routed("cali2", 2);
        let without = Pod::routed("cali9", 9);
        // Nor does what is above an interface elsewhere.
        let here = Namespace::current();
        without.namespace.run(|| add_macvlan("above", "eth0", &here));
        let mut links = Links::open().unwrap();
        let bridge = || Master::Bridge("cni0".to_string());
        let mut expected = vec![
            link_of(&two, Master::None),
            link_of(&without, Master::None),
            link_of(&one, bridge()),
            link_of(&ten, bridge()),
        ];
        assert_eq!(without_numbers(links.pods().unwrap()), expected);
        assert!(expected.iter().all(|link| link.link_local.len() == 1), "{expected:?}");

        // Another interface of the pod, its loopback addresses, and an address it gets later.
        let later: IpAddr = "10.1.0.77".parse().unwrap();
        one.namespace.run(|| {
            let other = Namespace::new();
            add_veth("eth1", "eth0", &other);
            up("eth1");
            add_address("eth1", "10.9.0.1".parse().unwrap(), 24);
            add_address("lo", "10.9.9.9".parse().unwrap(), 32);
            add_address("eth0", later, 32);
        });
        expected[2].addresses.insert(1, later);
        assert_eq!(expected[2].addresses, [pod_addresses(1)[0], later, pod_addresses(1)[1]]);
        assert_eq!(without_numbers(links.pods().unwrap()), expected);
    });
}

#[test]
fn what_is_not_of_pods_is_told_apart() {
    in_new_namespace(|| {
        up("lo");
        add_bridge("cni0");
        add_bridge("other");
        add_veth("inner0", "inner1", &Namespace::current());
        set_master("inner0", "other");
        let pod = Pod::bridged("veth1", 1, "cni0");
        let _other = Pod::routed("cali2", 2);
        // A second interface of the first pod.
        add_veth("second", "eth1", &pod.namespace);
        let found = Links::open().unwrap().look().unwrap();
        assert_eq!(found.passages, ["inner0", "inner1"]);
        assert_eq!(found.bridges, [("cni0".to_string(), NODE.to_vec())].into());
        let namespaces = ["veth1", "second", "cali2"]
            .map(|name| found.pods.iter().find(|link| link.name == name).map(|link| link.namespace));
        assert_eq!(namespaces[0], namespaces[1]);
        assert_ne!(namespaces[0], namespaces[2]);
    });
}

#[test]
fn changes_are_told() {
    in_new_namespace(|| {
        add_bridge("cni0");
        let mut links = Links::open().unwrap();
        assert!(!links.changed(Duration::ZERO).unwrap());
        let patience = Duration::from_secs(10);
        let pod = Pod::bridged("veth1", 1, "cni0");
        assert!(links.changed(patience).unwrap());
        assert_eq!(links.pods().unwrap().len(), 1);
        while links.changed(Duration::from_millis(50)).unwrap() {}
        remove_link(&pod.link);
        assert!(links.changed(patience).unwrap());
        assert_eq!(links.pods().unwrap(), []);
    });
}

/// How long it takes to look: `cargo test --release -p palisade-nft -- --ignored --nocapture links_of`.
#[test]
#[ignore = "a measurement"]
fn links_of_100_pods() {
    in_new_namespace(|| {
        add_bridge("cni0");
        let pods: Vec<Pod> = (1..=100).map(|number| Pod::bridged(&format!("veth{number}"), number, "cni0")).collect();
        let mut links = Links::open().unwrap();
        for _ in 0..5 {
            let start = Instant::now();
            assert_eq!(links.pods().unwrap().len(), pods.len());
            println!("{:?}", start.elapsed());
        }
    });
}

/// Interfaces come and go while they are listed: no error, and at last the truth.
#[test]
fn links_that_vanish_are_no_error() {
    in_new_namespace(|| {
        let here = Namespace::current();
        let mut links = Links::open().unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                here.run(|| {
                    for _ in 0..30 {
                        let pods = [Pod::routed("a", 1), Pod::routed("b", 2)];
                        remove_link("a");
                        drop(pods);
                        // The namespace goes, and its end of the pair with it, some time after it was left.
                        while rustix::net::netdevice::name_to_index(
                            std::net::UdpSocket::bind("0.0.0.0:0").unwrap(),
                            "b",
                        )
                        .is_ok()
                        {
                            std::thread::yield_now();
                        }
                    }
                });
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                links.pods().unwrap();
            }
        });
        assert_eq!(links.pods().unwrap(), []);
    });
}
