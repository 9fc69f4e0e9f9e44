//! A peer that keeps to no rule: it claims names, answers for others, twice, or with nonsense.

use std::time::Duration;

use hirte::{
    bus::{Body, CallError, Kind, Message, error_name, names},
    manager::state::event::PeerId,
};

use super::{
    network::{Connection, End, Far, Item},
    world::World,
};

impl World {
    /// Another hostile peer connects.
    pub fn hostile_connects(&mut self) {
        let peer = self.add_connection(Connection::new(Far::Hostile));
        self.connections.get_mut(&peer).unwrap().far_end.is_open = true;
        self.travel(peer, End::Manager, Item::Open);
        if self.prng.percent(70) {
            self.hostile_registers(peer);
        }
    }

    fn hostile_registers(&mut self, peer: PeerId) {
        let mut nodes: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        nodes.extend([
            String::new(),
            "toaster\nnode-0".to_owned(),
            "x".repeat(3000),
        ]);
        let name = self.prng.pick(&nodes).clone();
        let body = match self.prng.below(8) {
            0 => Body::of(&(7_u32,)),
            1 => Body::of(&(name.as_str(), 7_u32)),
            _ => Body::of(&(name.as_str(),)),
        };
        let path = names::INTERNAL_MANAGER_PATH;
        let interface = names::INTERNAL_MANAGER_INTERFACE;
        self.hostile_sends(peer, Message::call(path, interface, "Register", body));
    }

    fn hostile_sends(&mut self, peer: PeerId, mut message: Message) {
        message.serial = u32::try_from(self.prng.below(1000) + 1).unwrap();
        self.travel(peer, End::Manager, Item::Message(Box::new(message)));
    }

    /// One of the hostile peers does something.
    pub fn hostile_acts(&mut self) {
        let hostile: Vec<PeerId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.far == Far::Hostile && connection.far_end.is_open)
            .map(|(peer, _)| *peer)
            .collect();
        if hostile.is_empty() {
            return;
        }
        let peer = *self.prng.pick(&hostile);
        let id = u32::try_from(u64::from(self.last_job_id()).saturating_sub(self.prng.below(6)))
            .unwrap();
        let signal = |member, body| {
            let interface = names::INTERNAL_AGENT_INTERFACE;
            Message::signal(names::INTERNAL_AGENT_PATH, interface, member, body)
        };
        let message = match self.prng.below(14) {
            0 | 1 => return self.hostile_registers(peer),
            2..=4 => signal("JobDone", Body::of(&(id, "forged"))),
            5 => signal("JobDone", Body::of(&(id, "x".repeat(5000)))),
            6 => signal("JobDone", Body::of(&("forged", id))),
            7 => signal("JobStateChanged", Body::of(&(id, "running"))),
            8 => signal("JobStateChanged", Body::of(&(id, "waiting\n"))),
            9 => signal("Heartbeat", Body::default()),
            10 => signal("Nonsense", Body::of(&(vec![id],))),
            11 => {
                let serial = u32::try_from(self.prng.below(40)).unwrap();
                Message::reply(serial, Body::of(&(id,)))
            }
            12 => Message::call("/", names::PEER_INTERFACE, "Ping", Body::default()),
            _ => return self.close_far_end(peer, "hostile"),
        };
        self.hostile_sends(peer, message);
    }

    /// The manager calls a hostile peer that has taken the name of a node.
    pub fn hostile_receives(&mut self, peer: PeerId, message: &Message) {
        if message.kind != Kind::Call {
            return;
        }
        let (serial, is_ping) = (message.serial, message.interface == names::PEER_INTERFACE);
        let wrong = CallError::new(error_name::FAILED, "\u{7}wrong".repeat(3000));
        let answers: Vec<Message> = match self.prng.below(6) {
            _ if is_ping && self.prng.percent(60) => vec![Message::reply(serial, Body::default())],
            0 => vec![],
            1 => vec![Message::reply(serial, Body::of(&("wrong", 1_u32)))],
            2 => vec![Message::error(serial, &wrong)],
            3 => vec![Message::reply(serial, Body::default()); 2],
            _ => vec![Message::reply(serial, Body::default())],
        };
        for answer in answers {
            self.hostile_sends(peer, answer);
        }
    }

    /// More connections at once than may be unregistered.
    pub fn flood(&mut self) {
        for _ in 0..80 {
            let peer = self.add_connection(Connection::new(Far::Hostile));
            self.connections.get_mut(&peer).unwrap().far_end.is_open = true;
            self.travel(peer, End::Manager, Item::Open);
        }
        let time = self
            .prng
            .time(Duration::from_millis(1), Duration::from_secs(8));
        self.hostile_leave_after(time);
    }
}
