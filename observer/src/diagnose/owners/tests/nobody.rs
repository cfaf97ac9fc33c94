//! Rules that are nobody's, and what is not said.

use super::check;
use super::world::World;
use crate::report::record::{Cause, Confidence};

const OWN: &str = "*filter\n:FORWARD DROP [0:0]\n:GUARD - [0:0]\n-A FORWARD -j GUARD\n-A GUARD -s 192.0.2.7/32 -j DROP\nCOMMIT\n";

#[test]
fn a_rule_that_nobody_owns_is_probably_the_hosts_own_and_is_shown_in_its_chain() {
    let world = World::iptables(OWN).rule("-A GUARD -s 192.0.2.7/32 -j DROP", &["FORWARD", "GUARD"]);
    check(
        &world,
        "No program that observer knows writes this rule: it is probably this host's own",
        Some("iptables-legacy -nvL GUARD --line-numbers"),
    );
}

#[test]
fn nothing_is_said_of_what_is_not_known_or_of_a_hook_function() {
    let mut world = World::iptables(OWN).policy("filter", "FORWARD");
    assert!(!world.hints().is_empty());
    world.line.drop.confidence = Confidence::Inferred;
    assert!(!world.hints().is_empty());
    world.line.drop.confidence = Confidence::Unknown;
    assert!(world.hints().is_empty());
    world.line.drop.confidence = Confidence::Exact;
    world.line.drop.cause = Some(Cause::Hook);
    assert!(world.hints().is_empty());
}

#[test]
fn a_chain_with_an_owners_name_in_the_wrong_table_is_nobodys_and_nobody_is_named() {
    let saved = "*mangle\n:FORWARD ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:DOCKER - [0:0]\n:f2b-sshd - [0:0]\n:ufw-user-input - [0:0]\n\
        -A FORWARD -j KUBE-SERVICES\n-A DOCKER -j DROP\n-A f2b-sshd -j DROP\n-A ufw-user-input -j DROP\nCOMMIT\n";
    for text in [
        "-A DOCKER -j DROP",
        "-A f2b-sshd -j DROP",
        "-A ufw-user-input -j DROP",
    ] {
        let world = World::iptables(saved).rule(text, &["FORWARD"]);
        assert!(world.hints().is_empty(), "{text}: {:?}", world.hints());
    }
}

#[test]
fn a_hostile_chain_is_in_no_command() {
    let saved = "*filter\n:FORWARD ACCEPT [0:0]\n:$(reboot) - [0:0]\n-A $(reboot) -j DROP\nCOMMIT\n";
    let world = World::iptables(saved).rule("-A $(reboot) -j DROP", &["FORWARD", "$(reboot)"]);
    check(&world, "probably this host's own", None);
    let listed =
        "table inet a'b {\nchain c {\ntype filter hook forward priority filter; policy accept;\ndrop\n}\n}";
    check(
        &World::nft(listed).rule("drop", &["c"]),
        "probably this host's own",
        None,
    );
}

#[test]
fn the_other_iptables_is_spoken_of_where_it_has_rules_at_the_same_hook() {
    let told = |other: &str| {
        let world = World::iptables(OWN).policy("filter", "FORWARD").beside(other);
        world
            .told()
            .0
            .is_some_and(|who| who.contains("iptables-nft has rules at this hook, too"))
    };
    assert!(told(
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i eth0 -j ACCEPT\nCOMMIT\n"
    ));
    for other in [
        "",
        "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n",
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i eth0 -j ACCEPT\nCOMMIT\n",
        "*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i eth0 -j ACCEPT\nCOMMIT\n",
    ] {
        assert!(!told(other), "{other}");
    }
    assert!(
        !World::iptables(OWN)
            .policy("filter", "FORWARD")
            .told()
            .0
            .is_some_and(|who| who.contains("too:"))
    );
}
