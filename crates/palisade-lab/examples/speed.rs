use palisade_core::*;
use palisade_lab::*;
use std::sync::Arc;
use std::time::Instant;
fn main() {
    become_root().unwrap();
    let n: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let ports: u16 = std::env::args().nth(2).unwrap().parse().unwrap();
    let mut s = Snapshot::default();
    s.namespaces.insert("shop".into(), Arc::default());
    for k in 1..=2u16 {
        let node = Node {
            addresses: vec![format!("10.99.0.{k}").parse().unwrap(), format!("fd99::{k}").parse().unwrap()],
            ..Node::default()
        };
        s.nodes.insert(format!("n{k}").into(), Arc::new(node));
    }
    for k in 1..=n {
        let pod = Pod {
            labels: [("app".into(), format!("p{k}").as_str().into())].into(),
            node: Some(format!("n{}", k % 2 + 1).into()),
            addresses: vec![
                format!("10.244.{}.{}", k / 256, k % 256).parse().unwrap(),
                format!("fd44::{k:x}").parse().unwrap(),
            ],
            ports: (0..ports)
                .map(|p| ContainerPort {
                    name: None,
                    transport: Transport::ALL[usize::from(p % 3)],
                    port: (80 + p).try_into().unwrap(),
                })
                .collect(),
            ..Pod::default()
        };
        s.pods.insert(PodName::new("shop", format!("p{k}")), Arc::new(pod));
        if k % 2 == 0 {
            let name = PolicyName::new("shop", format!("p{k}"));
            let rule = Rule {
                peers: Some(vec![
                    Peer::Pods { namespaces: None, pods: Selector::labels([("app", format!("p{}", k - 1).as_str())]) },
                    Peer::Block { cidr: "10.1.0.0/16".parse().unwrap(), except: vec![] },
                    Peer::Block { cidr: "2001:db8:5::/48".parse().unwrap(), except: vec![] },
                ]),
                ports: Ports::All,
            };
            s.policies.insert(
                name.clone(),
                Arc::new(NetworkPolicy {
                    name,
                    subjects: Selector::labels([("app", format!("p{k}").as_str())]),
                    rules: PerDirection { ingress: Some(vec![rule]), egress: None },
                    unreadable: None,
                }),
            );
        }
    }
    let t = Instant::now();
    let lab = Lab::start(&s, &Family::ALL).unwrap();
    println!("start {:?}", t.elapsed());
    let cases: Vec<Case> = plan(&s, &Family::ALL).into_iter().map(|f| Case::of(&s, f, &Family::ALL).unwrap()).collect();
    let packets: usize = cases.iter().map(|c| c.packets.len()).sum();
    let t = Instant::now();
    let mut bar = progress_bar();
    let r = witness(&lab, &s, &cases, &mut bar).unwrap();
    let denied = r.rows.iter().flat_map(|r| &r.testimonies).filter(|t| t.kernel == Outcome::Silent).count();
    println!(
        "{} flows, {packets} packets, {denied} denied, {} disagree: {:?}",
        cases.len(),
        r.disagreements().count(),
        t.elapsed()
    );
    for row in r.disagreements().take(5) {
        println!("{row:?}");
    }
    let t = Instant::now();
    drop(lab);
    println!("drop {:?}", t.elapsed());
}
