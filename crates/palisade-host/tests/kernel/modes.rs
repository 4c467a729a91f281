//! Where the addresses go: sets of the administrator's rules, and files.

use std::time::Duration;

use crate::world::{World, until};
use crate::{NO, YES};

const FIREWALL: &str = "flush ruleset\n\
    table inet fw {\n\
      set nodes { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }\n\
      set nodes6 { type ipv6_addr; flags interval; }\n\
      chain in {\n\
        type filter hook input priority 0;\n\
        tcp dport 5432 ip saddr @nodes accept\n\
        tcp dport 5432 ip6 saddr @nodes6 accept\n\
        tcp dport 5432 drop\n\
      }\n\
    }\n";
const SETS: &str = "  mode: SetOnly\n  setOnly: {table: {family: inet, name: fw}, set4: nodes, set6: nodes6}\n  safety: {removeDelaySeconds: 0}\n";

pub fn sets_of_nft_are_filled_and_nothing_else_is_touched() {
    let mut world = World::with(SETS, "");
    world.put("n2");
    world.tool("nft", &["-f", "-"], FIREWALL);
    assert_eq!(world.reaches("n2"), NO);
    world.start();
    world.becomes("n2", YES);
    assert_eq!(world.reaches("n3"), NO);
    assert!(!world.tool("nft", &["list", "ruleset"], "").contains("192.0.2.0/24"));
    world.put("n3");
    world.becomes("n3", YES);
    world.delete("n3");
    world.becomes("n3", NO);
    // Their rules are loaded anew.
    for _ in 0..3 {
        world.tool("nft", &["-f", "-"], FIREWALL);
        world.becomes("n2", YES);
    }
    assert_eq!(world.reaches("n3"), NO);
    assert!(!world.has_table());
    world.kill();
    assert_eq!(world.reaches("n2"), YES);
}

pub fn ipsets_are_filled() {
    let spec = "  mode: SetOnly\n  setOnly: {ipset4: nodes, ipset6: nodes6}\n  safety: {removeDelaySeconds: 0}\n";
    let mut world = World::with(spec, "");
    world.put("n2");
    world.tool("ipset", &["restore"], "create nodes hash:ip\ncreate nodes6 hash:net family inet6\n");
    for (tool, set) in [("iptables-legacy", "nodes"), ("ip6tables-legacy", "nodes6")] {
        let rule =
            ["-A", "INPUT", "-p", "tcp", "--dport", "5432", "-m", "set", "!", "--match-set", set, "src", "-j", "DROP"];
        world.tool(tool, &rule, "");
    }
    world.start();
    world.becomes("n2", YES);
    assert_eq!(world.reaches("n3"), NO);
    world.put("n3");
    world.becomes("n3", YES);
    world.delete("n2");
    world.becomes("n2", NO);
    // Of this nobody tells.
    world.tool("ipset", &["flush"], "");
    assert_eq!(world.reaches("n3"), NO);
    world.becomes("n3", YES);
}

pub fn a_set_that_is_missing_is_told_and_waited_for() {
    let mut world = World::with(SETS, "");
    world.put("n2");
    world.start();
    world.tells("there is no set inet fw nodes");
    // One family alone is there, and filled.
    let rules = "table inet fw { set nodes { type ipv4_addr; }\n}\n";
    world.tool("nft", &["-f", "-"], rules);
    world.tells("there is no set inet fw nodes6");
    until(|| world.tool("nft", &["list", "ruleset"], "").contains("10.99.0.2"), || world.state());
    world.tool("nft", &["-f", "-"], FIREWALL);
    world.becomes("n2", YES);
    world.tells("\"error\":null");
}

pub fn files_are_kept_and_commands_run() {
    let spec = "  mode: ExportOnly\n  exports:\n  - {path: DIRlist, command: [sh, -c, 'cat DIRlist >> DIRlog; test ! -e DIRbroken']}\n\
                \x20 - {path: DIRfilled, template: DIRtemplate}\n  - {path: /nonexistent/file}\n  safety: {removeDelaySeconds: 0}\n";
    let mut world = World::with(spec, "");
    world.put("n2");
    world.write("template", "{{ nodes[0].node }} {{ ipv4 | join(',') }}\n");
    world.api.stop();
    world.start();
    // Half a list shuts nodes out.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(world.read("list"), "");
    world.api.resume();
    until(|| world.read("log") == "10.99.0.2\nfd99::2\n", || world.state());
    assert_eq!(world.read("filled"), "n2 10.99.0.2\n");
    world.tells("cannot write /nonexistent/file.new");
    assert!(!world.has_table());
    // A command that fails is told and tried again.
    world.write("broken", "");
    world.put("n3");
    world.tells("sh failed (exit status: 1)");
    std::fs::remove_file(world.path("broken")).unwrap();
    until(|| !world.state().contains("sh failed"), || world.state());
    assert_eq!(world.read("list"), "10.99.0.2\n10.99.0.3\nfd99::2\nfd99::3\n");
    // What cannot be filled in leaves the file as it was.
    world.write("template", "{{ nonsense }}\n");
    world.delete("n2");
    world.tells("undefined value");
    assert_eq!(world.read("filled"), "n2 10.99.0.2,10.99.0.3\n");
    world.write("template", "{{ nodes | length }}\n");
    until(|| world.read("filled") == "2\n", || world.state());
    // Once it can be filled in and gives what the file holds already, nothing is wrong any more.
    world.write("template", "{{ nonsense }}\n");
    world.put("n2");
    world.tells("undefined value");
    world.delete("n2");
    until(|| world.read("list") == "10.99.0.3\nfd99::3\n", || world.state());
    world.write("template", "{{ nodes | length }}\n");
    until(|| !world.state().contains("undefined value"), || world.state());
    // A start without the API server writes what is known.
    world.kill();
    std::fs::remove_file(world.path("list")).unwrap();
    world.api.stop();
    world.start();
    until(|| world.read("list") == "10.99.0.3\nfd99::3\n", || world.state());
}
