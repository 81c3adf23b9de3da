//! Paths over links: who finds whom, what is believed, and how soon a path that fails is left.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::rc::Rc;

use dcf::bounds::{MAX_CANDIDATES, MAX_NEIGHBOURS, PATH_MTU};
use dcf::datagrams::Datagrams;
use dcf::endpoint::Endpoint;
use dcf::events::Event;
use dcf::frames::{self, message_type};
use dcf::limits::Limits;
use dcf::paths::messages::{self, Challenge, Said, Sender};
use dcf::paths::{Change, Link, Paths, To};
use dcf::sealing::Sealer;
use quickcheck::quickcheck;

const WALL: u64 = 1_800_000_000_000_000;
const STEP: u64 = 10_000;
const SECOND: u64 = 1_000_000;
const LARGE: usize = 65_474;

fn ordinary(node: usize) -> SocketAddr {
    ([192, 0, 2, node as u8 + 1], 7717).into()
}

/// A node's address on the cable with that number.
fn place(node: usize, cable: u32) -> SocketAddrV6 {
    let ip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, cable as u16, node as u16 + 1);
    SocketAddrV6::new(ip, 40_000, 0, cable)
}

fn link(node: usize, cable: u32) -> Link {
    Link { address: place(node, cable), largest: LARGE }
}

/// Nodes on cables and an ordinary network, in a time of their own.
struct World {
    nodes: Vec<Paths>,
    now: u64,
    /// What a link, or the ordinary network (`None`), does to a datagram from one node to another.
    passes: Box<dyn Fn(usize, usize, Option<u32>, usize) -> bool>,
    /// All that went over links: from, to, datagram.
    seen: Vec<(SocketAddrV6, usize, Vec<u8>)>,
    changes: Vec<(usize, u64, Change)>,
}

impl World {
    fn new(keys: &[Option<u8>], cables: &[u32]) -> Self {
        let sealer = |key: &Option<u8>| Paths::new(key.map(|key| Sealer::new([key; 32])));
        let mut nodes: Vec<_> = keys.iter().map(sealer).collect();
        for (node, paths) in nodes.iter_mut().enumerate() {
            let links: Vec<_> = cables.iter().map(|cable| link(node, *cable)).collect();
            paths.set_links(&links, 1);
        }
        let passes = Box::new(|_, _, _, _| true);
        Self { nodes, now: 1, passes, seen: Vec::new(), changes: Vec::new() }
    }

    fn run(&mut self, time: u64) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.turn();
        }
    }

    fn turn(&mut self) {
        let (now, count) = (self.now, self.nodes.len());
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                self.nodes[from].route(ordinary(to), now);
            }
            self.nodes[from].poll(now, WALL + now);
        }
        // What is said is answered in the same turn, and the answers are too.
        for _ in 0..4 {
            for from in 0..count {
                self.pass_on(from);
            }
        }
        for (node, paths) in self.nodes.iter_mut().enumerate() {
            self.changes.extend(paths.changes.drain(..).map(|change| (node, now, change)));
        }
    }

    fn pass_on(&mut self, from: usize) {
        let now = self.now;
        for (to, mut datagram) in std::mem::take(&mut self.nodes[from].out) {
            let cable = match to {
                To::All(scope) => scope,
                To::One(address) => address.scope_id(),
            };
            let here = place(from, cable);
            for node in (0..self.nodes.len()).filter(|node| *node != from) {
                let meant = to == To::All(cable) || to == To::One(place(node, cable));
                if meant && (self.passes)(from, node, Some(cable), datagram.len()) {
                    self.seen.push((here, node, datagram.clone()));
                    self.nodes[node].received(&mut datagram.clone(), here, now, WALL + now);
                }
            }
            datagram.clear();
        }
        for (to, payload) in std::mem::take(&mut self.nodes[from].challenges) {
            let Some(node) = (0..self.nodes.len()).find(|node| ordinary(*node) == to) else {
                continue;
            };
            if (self.passes)(from, node, None, payload.len()) {
                self.nodes[node].challenged(&payload, ordinary(from), now, WALL + now);
            }
        }
    }

    fn route(&mut self, from: usize, to: usize) -> Option<SocketAddrV6> {
        self.nodes[from].route(ordinary(to), self.now)
    }

    fn size(&self, node: usize) -> usize {
        self.nodes[node].view(0).map_or(0, |view| view.size)
    }
}

#[test]
fn two_that_have_a_cable_and_are_peers_find_each_other() {
    for key in [None, Some(1)] {
        let mut world = World::new(&[key, key], &[5]);
        world.run(SECOND);
        assert_eq!(world.route(0, 1), Some(place(1, 5)));
        assert_eq!(world.route(1, 0), Some(place(0, 5)));
        assert_eq!(world.nodes[0].origin(place(1, 5)), Some(ordinary(1)));
        assert_eq!(world.nodes[1].origin(place(0, 5)), Some(ordinary(0)));
        assert_eq!((world.size(0), world.size(1)), (LARGE, LARGE));
    }
}

#[test]
fn several_at_one_cable_are_told_apart() {
    let mut world = World::new(&[Some(1); 4], &[5]);
    world.run(2 * SECOND);
    for from in 0..4 {
        for to in (0..4).filter(|to| *to != from) {
            assert_eq!(world.route(from, to), Some(place(to, 5)));
        }
    }
}

#[test]
fn neighbours_that_are_no_peers_have_no_path() {
    let mut world = World::new(&[None, None], &[5]);
    world.passes = Box::new(|_, _, cable, _| cable.is_some());
    world.run(10 * SECOND);
    assert!(world.nodes[0].view(0).is_some(), "it is a neighbour all the same");
    assert_eq!((world.route(0, 1), world.route(1, 0)), (None, None));
}

#[test]
fn a_cable_that_is_pulled_is_left_within_a_second_and_used_again_when_it_is_back() {
    for key in [None, Some(1)] {
        let mut world = World::new(&[key, key], &[5]);
        world.run(SECOND);
        let pulled = world.now;
        world.changes.clear();
        world.passes = Box::new(|_, _, cable, _| cable.is_none());
        world.run(SECOND);
        assert_eq!((world.route(0, 1), world.route(1, 0)), (None, None));
        let latest = world.changes.iter().map(|(_, at, _)| at - pulled).max();
        assert!(latest < Some(900_000), "left after {latest:?} us");
        assert!(world.changes.iter().all(|(.., change)| change.size.is_none()));
        for silence in [SECOND, 20 * SECOND] {
            world.passes = Box::new(|_, _, cable, _| cable.is_none());
            world.run(silence);
            world.passes = Box::new(|_, _, _, _| true);
            world.run(2 * SECOND);
            assert_eq!(world.route(0, 1), Some(place(1, 5)), "after {silence} us of silence");
            assert_eq!(world.route(1, 0), Some(place(0, 5)));
        }
    }
}

#[test]
fn a_device_that_is_gone_is_left_at_once() {
    let mut world = World::new(&[Some(1); 2], &[5]);
    world.run(SECOND);
    world.nodes[0].set_links(&[], world.now);
    assert_eq!(world.route(0, 1), None);
    let changes = &world.nodes[0].changes;
    assert!(matches!(changes[..], [Change { size: None, .. }]), "{changes:?}");
    world.nodes[0].set_links(&[link(0, 5)], world.now);
    world.run(2 * SECOND);
    assert_eq!(world.route(0, 1), Some(place(1, 5)));
}

#[test]
fn whoever_starts_again_is_found_again_soon() {
    for key in [None, Some(1)] {
        let mut world = World::new(&[key, key], &[5]);
        world.run(SECOND);
        let sealer = key.map(|key| Sealer::new([key; 32]));
        world.nodes[1] = Paths::new(sealer);
        world.nodes[1].set_links(&[link(1, 5)], world.now);
        world.run(2 * SECOND);
        assert_eq!(world.route(0, 1), Some(place(1, 5)));
        assert_eq!(world.route(1, 0), Some(place(0, 5)));
    }
}

#[test]
fn a_path_that_comes_and_goes_is_used_each_time() {
    let mut world = World::new(&[Some(1); 2], &[5]);
    for _ in 0..20 {
        world.passes = Box::new(|_, _, _, _| true);
        world.run(1_500_000);
        assert_eq!(world.route(0, 1), Some(place(1, 5)));
        assert_eq!(world.route(1, 0), Some(place(0, 5)));
        // In one direction, so that it is not the same at both ends.
        world.passes = Box::new(|from, _, cable, _| cable.is_none() || from == 0);
        world.run(SECOND);
        assert_eq!((world.route(0, 1), world.route(1, 0)), (None, None));
    }
}

#[test]
fn a_device_that_takes_less_than_before_is_sent_less() {
    let mut world = World::new(&[Some(1); 2], &[5]);
    world.run(SECOND);
    assert_eq!(world.size(0), LARGE);
    let smaller = Link { largest: 1_452, ..link(1, 5) };
    world.passes = Box::new(|_, to, _, size| to == 0 || size <= 1_452);
    world.nodes[1].set_links(&[smaller], world.now);
    world.run(4 * SECOND);
    assert_eq!(world.route(0, 1), Some(place(1, 5)));
    assert_eq!((world.size(0), world.size(1)), (1_452, 1_452));
    let told = world.changes.iter().rev().find(|(node, ..)| *node == 0);
    assert_eq!(told.and_then(|(.., change)| change.size), Some(1_452));
}

#[test]
fn a_second_cable_takes_over() {
    let mut world = World::new(&[Some(1); 2], &[5, 6]);
    world.run(2 * SECOND);
    let first = world.route(0, 1).unwrap().scope_id();
    world.changes.clear();
    world.passes = Box::new(move |_, _, cable, _| cable != Some(first));
    world.run(SECOND);
    assert_eq!(world.route(0, 1), Some(place(1, 11 - first)));
    assert!(world.changes.iter().all(|(.., change)| change.size.is_some()), "{:?}", world.changes);
}

#[test]
fn datagrams_grow_only_to_what_has_been_there_and_back() {
    let mut world = World::new(&[Some(1); 2], &[5]);
    world.passes = Box::new(|_, _, _, size| size <= 1_500);
    world.run(10 * SECOND);
    assert_eq!(world.route(0, 1), Some(place(1, 5)));
    assert_eq!(world.size(0), PATH_MTU);
    world.passes = Box::new(|_, _, _, _| true);
    world.run(3 * SECOND);
    assert_eq!(world.size(0), LARGE);
    let told = world.changes.iter().filter_map(|(_, _, change)| change.size).max();
    assert_eq!(told, Some(LARGE));
}

#[test]
fn a_path_that_works_one_way_only_is_not_used() {
    for deaf in 0..2 {
        let mut world = World::new(&[None; 2], &[5]);
        world.passes = Box::new(move |_, to, cable, _| cable.is_none() || to != deaf);
        world.run(10 * SECOND);
        assert_eq!((world.route(0, 1), world.route(1, 0)), (None, None));
    }
}

#[test]
fn nothing_goes_where_it_would_not_be_known_whose_it_is() {
    // What 0 asks over the ordinary network is lost: so it cannot know whose 1's datagrams are.
    let mut world = World::new(&[Some(1); 2], &[5]);
    world.passes = Box::new(|from, _, cable, _| cable.is_some() || from != 0);
    world.run(10 * SECOND);
    assert_eq!((world.route(0, 1), world.route(1, 0)), (None, None));
    assert_eq!(world.nodes[0].origin(place(1, 5)), None);
}

// -------------------------------------------------------------------------------------- hostile

#[test]
fn whoever_lacks_the_key_is_nobody() {
    for keys in [[Some(1), Some(2)], [Some(1), None], [None, Some(1)]] {
        let mut world = World::new(&keys, &[5]);
        world.run(5 * SECOND);
        for node in 0..2 {
            assert_eq!(world.route(node, 1 - node), None);
            assert!(world.nodes[node].view(0).is_none());
        }
        let forged = world.nodes.iter().map(|paths| paths.counters.link_dropped_forged);
        let malformed = world.nodes.iter().map(|paths| paths.counters.link_dropped_malformed);
        assert!(forged.sum::<u64>() + malformed.sum::<u64>() >= 4);
    }
}

#[test]
fn what_was_recorded_of_another_makes_no_neighbour() {
    for key in [None, Some(1)] {
        let mut world = World::new(&[key, key], &[5]);
        world.run(SECOND);
        let recorded = std::mem::take(&mut world.seen);
        let mut fresh = World::new(&[key], &[5]);
        for (_, to, datagram) in recorded.iter().filter(|(_, to, _)| *to == 0) {
            // The thief has an address of its own.
            let now = world.now;
            world.nodes[*to].received(&mut datagram.clone(), place(9, 5), now, WALL + now);
            fresh.nodes[0].received(&mut datagram.clone(), place(9, 5), now, WALL + now);
        }
        assert!(world.nodes[0].view(1).is_none() && fresh.nodes[0].view(0).is_none());
        assert_eq!(world.route(0, 1), Some(place(1, 5)));
    }
}

#[test]
fn what_is_sent_again_later_changes_nothing() {
    let mut world = World::new(&[Some(1); 2], &[5]);
    world.run(2 * SECOND);
    let recorded = std::mem::take(&mut world.seen);
    world.passes = Box::new(|_, _, cable, _| cable.is_none());
    // The cable is out, and somebody plays 1, with its address.
    for _ in 0..300 {
        let now = world.now;
        for (from, _, datagram) in recorded.iter().filter(|(_, to, _)| *to == 0) {
            world.nodes[0].received(&mut datagram.clone(), *from, now, WALL + now);
        }
        world.run(STEP);
    }
    assert_eq!(world.route(0, 1), None);
    assert!(world.nodes[0].drops.dropped_replayed as usize >= recorded.len() / 2);
}

/// Says what anyone can say who has no key.
fn forged(sender: &Sender, said: Said) -> Vec<u8> {
    let (mut payload, mut datagram) = (Vec::new(), Vec::new());
    messages::write(&mut payload, sender, said, 0);
    frames::write(&mut datagram, message_type::PATH, 0, WALL, &payload);
    datagram
}

#[test]
fn without_a_key_a_thief_of_a_name_gets_nothing_that_is_meant_for_another() {
    let mut world = World::new(&[None; 2], &[5]);
    let thief = place(9, 5);
    // 1 is not there yet; 2, which is, says whatever 1 may have said.
    let mut names = World::new(&[None; 2], &[5]);
    std::mem::swap(&mut names.nodes[1], &mut world.nodes[1]);
    world.passes = Box::new(|_, _, cable, _| cable.is_none());
    world.run(SECOND);
    let id = {
        let (_, _, datagram) = {
            names.run(SECOND);
            names.seen.iter().find(|(from, ..)| *from == place(1, 5)).unwrap().clone()
        };
        messages::read(&datagram[frames::HEADER_SIZE..]).unwrap().0.id
    };
    let sender = Sender { id, ip: *thief.ip(), port: thief.port(), largest: 65_000 };
    for round in 0..500u64 {
        let now = world.now;
        let says = [
            Said::Hello,
            Said::Proof([round as u8; 16]),
            Said::Echo { number: round, size: 62, ready: true },
        ];
        for said in says {
            world.nodes[0].received(&mut forged(&sender, said), thief, now, WALL + now);
        }
        world.run(STEP);
        assert_eq!(world.route(0, 1), None);
    }
    assert_eq!(world.nodes[0].origin(thief), None);
}

#[test]
fn proofs_go_only_to_the_address_that_asked() {
    let mut world = World::new(&[None; 2], &[5]);
    world.passes = Box::new(|_, _, _, _| false);
    let asker = Sender { id: [7; 16], ip: *place(3, 5).ip(), port: 40_000, largest: 9_000 };
    let copy = Sender { ip: *place(9, 5).ip(), ..asker };
    for sender in [asker, copy] {
        let from = SocketAddrV6::new(sender.ip, sender.port, 0, 5);
        world.nodes[0].received(&mut forged(&sender, Said::Hello), from, 1, WALL);
    }
    world.nodes[0].out.clear();
    let challenge =
        Challenge { id: [7; 16], nonce: [8; 16], addresses: vec![(asker.ip, asker.port)] };
    world.nodes[0].challenged(&challenge.to_bytes(), ordinary(3), 1, WALL);
    let told: Vec<_> = world.nodes[0].out.iter().map(|(to, _)| *to).collect();
    assert_eq!(told, [To::One(place(3, 5))]);
}

#[test]
fn a_flood_of_names_takes_no_more_than_its_share() {
    let mut world = World::new(&[None; 2], &[5]);
    world.run(SECOND);
    let before = world.route(0, 1);
    let mut asked = 0;
    for number in 0..2_000u16 {
        let port = 1_000 + number;
        let ip = *place(9, 5).ip();
        let sender = Sender { id: [number as u8; 16], ip, port, largest: 9_000 };
        let from = SocketAddrV6::new(ip, port, 0, 5);
        let now = world.now;
        world.nodes[0].received(&mut forged(&sender, Said::Hello), from, now, WALL + now);
        // Everybody that is not found may be asked.
        world.nodes[0].route(([198, 51, 100, 1], 1).into(), now);
        world.nodes[0].poll(now, WALL + now);
        asked += world.nodes[0].challenges.len();
        world.turn();
        world.now += 1_000;
        assert!(world.nodes[0].view(MAX_NEIGHBOURS).is_none());
    }
    assert_eq!((world.route(0, 1), before), (before, Some(place(1, 5))));
    assert!(asked < 20, "asked {asked} times in two seconds");
    for port in 0..60_000 {
        world.nodes[0].route(([198, 51, 100, 2], port).into(), world.now);
    }
    world.nodes[0].challenges.clear();
    world.nodes[0].poll(world.now, WALL);
    assert!(world.nodes[0].challenges.len() <= MAX_CANDIDATES);
}

quickcheck! {
    fn what_is_said_is_read_as_written(kind: u8, number: u64, size: u16, nonce: u128, padding: u16) -> bool {
        let said = match kind % 4 {
            0 => Said::Hello,
            1 => Said::Proof(nonce.to_be_bytes()),
            2 => Said::Probe { number, tag: nonce.to_be_bytes() },
            _ => Said::Echo { number, size, ready: number & 1 > 0 },
        };
        let sender = Sender { id: nonce.to_le_bytes(), ip: nonce.into(), port: size, largest: padding };
        let mut payload = Vec::new();
        let padding = if kind % 4 == 2 { usize::from(padding) } else { 0 };
        messages::write(&mut payload, &sender, said, padding);
        payload.len() >= padding && messages::read(&payload) == Some((sender, said))
    }

    fn noise_does_no_harm(noise: Vec<Vec<u8>>, opening: Vec<u8>) -> bool {
        let mut world = World::new(&[None; 2], &[5]);
        world.run(SECOND);
        for (number, mut bytes) in noise.into_iter().enumerate() {
            if let Some(kind) = opening.get(number) {
                bytes.splice(0..0, [kind % 6, 1]);
            }
            let mut datagram = Vec::new();
            frames::write(&mut datagram, message_type::PATH, 0, WALL, &bytes);
            let now = world.now;
            let from = place(number % 3, 5);
            world.nodes[0].received(&mut datagram, from, now, WALL + now);
            world.nodes[0].received(&mut bytes.clone(), from, now, WALL + now);
            world.nodes[0].challenged(&bytes, ordinary(1), now, WALL + now);
            world.run(STEP);
        }
        world.run(SECOND);
        world.route(0, 1) == Some(place(1, 5))
    }

    /// Messages arrive once, whatever path they begin on and whichever they end on.
    fn a_change_of_path_loses_and_doubles_nothing(seed: u64, sealed: bool) -> bool {
        let mut state = seed;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let sealer = || sealed.then(|| Sealer::new([3; 32]));
        let mut ends = [Endpoint::new(Limits::default(), sealer()), Endpoint::new(Limits::default(), sealer())];
        let mut sent: HashMap<Vec<u8>, u32> = HashMap::new();
        let (mut now, mut linked, mut change_at) = (1u64, false, 1u64);
        let mut wire: Vec<(u64, bool, usize, Vec<u8>)> = Vec::new();
        for turn in 0..60_000u64 {
            if turn < 40 {
                let mut message = turn.to_be_bytes().to_vec();
                message.resize(8 + draw(200_000) as usize, 7);
                sent.insert(message.clone(), 0);
                let from = draw(2) as usize;
                ends[from].send(ordinary(1 - from), message_type::TASK, Rc::new(message), now);
            }
            if now >= change_at && turn < 3_000 {
                linked = !linked;
                change_at = now + 20_000 + draw(400_000);
                let size = linked.then_some(LARGE);
                for (index, end) in ends.iter_mut().enumerate() {
                    end.set_path(ordinary(1 - index), size, now);
                }
                if !linked {
                    // The cable is out, with all that was in it.
                    wire.retain(|(_, by_link, ..)| !by_link);
                }
            }
            for (index, end) in ends.iter_mut().enumerate() {
                let mut out = Datagrams::default();
                end.flush(now, WALL + now, &mut out);
                for (range, _) in &out.items {
                    assert!(range.len() <= LARGE);
                    let at = now + if linked { 500 } else { 5_000 + draw(5_000) };
                    wire.push((at, linked, 1 - index, out.bytes[range.clone()].into()));
                }
            }
            now += 1_000;
            let (due, later) = wire.into_iter().partition(|(at, ..)| *at <= now);
            wire = later;
            for (_, _, to, mut datagram) in due {
                ends[to].received(&mut datagram, ordinary(1 - to), now, WALL + now);
            }
            for end in &mut ends {
                let mut events = Vec::new();
                end.take_events(&mut events);
                for event in events {
                    match event {
                        Event::Message { payload, .. } => *sent.get_mut(&payload).unwrap() += 1,
                        Event::Unreachable { .. } => return false,
                        _ => {}
                    }
                }
            }
            if turn > 40 && ends.iter().all(Endpoint::idle) {
                return sent.values().all(|times| *times == 1);
            }
        }
        false
    }
}
