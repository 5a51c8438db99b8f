//! The device: sessions, the log around each command, and what goes wrong on demand.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::channel::Channel;
use crate::commands::{Context, Ends, NONE, device_info};
use crate::log::Event;
use crate::state::{MAX_OBJECTS, Object, State, kind, origin, random};
use crate::wire::{DeviceError, Reader, algorithm, answer, command, unframe};
use crate::{Clock, Fault, Moment};

const MAX_SESSIONS: usize = 16;
const IDLE: Duration = Duration::from_secs(30);

struct Session {
    key: u16,
    channel: Channel,
    last_used: Duration,
}

/// What the connector gets to see of a message.
pub(crate) enum Outcome {
    Answer(Vec<u8>),
    /// The power went away.
    Nothing,
    /// The connector itself answers with this status.
    Http(u16),
}

pub(crate) struct Device {
    directory: PathBuf,
    durable: bool,
    pub(crate) state: State,
    sessions: [Option<Session>; MAX_SESSIONS],
    clock: Clock,
    booted_at: Duration,
    power_cut: Option<(Moment, Option<u8>, u32)>,
    http_errors: u32,
    unplugged: bool,
    /// The state as it is on the disk.
    saved: Vec<u8>,
    /// Commands inside sessions so far.
    pub(crate) commands: u64,
}

impl Device {
    pub(crate) fn power_on(directory: &Path, state: State, clock: Clock, durable: bool) -> io::Result<Self> {
        let booted_at = clock.now();
        let directory = directory.to_owned();
        let sessions = std::array::from_fn(|_| None);
        let mut device = Self {
            directory,
            durable,
            state,
            sessions,
            clock,
            booted_at,
            power_cut: None,
            http_errors: 0,
            unplugged: false,
            saved: Vec::new(),
            commands: 0,
        };
        device.boot()?;
        Ok(device)
    }

    fn boot(&mut self) -> io::Result<()> {
        self.sessions = std::array::from_fn(|_| None);
        self.booted_at = self.clock.now();
        let event = Event { command: command::BOOT, length: 0, session_key: NONE, target: 0, second: 0, result: 0, tick: 0 };
        self.state.log.push(&event, self.state.force_audit != 0);
        self.save()
    }

    /// Makes the state durable where it changed.
    fn save(&mut self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.state)?;
        if bytes != self.saved {
            State::save(&bytes, &self.directory, self.durable)?;
            self.saved = bytes;
        }
        Ok(())
    }

    /// The device counts hundredths of a second since it started.
    fn tick(&self) -> u32 {
        u32::try_from(self.clock.now().saturating_sub(self.booted_at).as_millis() / 10).unwrap_or(u32::MAX)
    }

    fn is_audited(&self, code: u8) -> bool {
        self.state.command_audit.get(&code).is_some_and(|o| *o != 0)
    }

    /// Whether a command that must be logged cannot be.
    fn is_blocked(&self, code: u8) -> bool {
        self.state.force_audit != 0 && self.is_audited(code) && self.state.log.is_full()
    }

    fn log(&mut self, code: u8, length: usize, session_key: u16, (target, second): (u16, u16), result: &Result<Vec<u8>, DeviceError>) {
        if self.is_audited(code) {
            let result = result.as_ref().map_or_else(|e| *e as u8, |_| code | 0x80);
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            let event = Event { command: code, length, session_key, target, second, result, tick: self.tick() };
            self.state.log.push(&event, self.state.force_audit != 0);
        }
    }

    pub(crate) fn inject(&mut self, fault: Fault) -> io::Result<()> {
        match fault {
            Fault::DropSessions => self.sessions = std::array::from_fn(|_| None),
            Fault::FillLog => {
                while !self.state.log.is_full() {
                    let (target, tick) = (NONE, self.tick());
                    let event = Event { command: command::ECHO, length: 0, session_key: 1, target, second: NONE, result: 0x81, tick };
                    self.state.log.push(&event, true);
                }
                self.save()?;
            }
            Fault::FillStorage => {
                while self.state.used().0 < MAX_OBJECTS {
                    let filler = Object {
                        kind: kind::OPAQUE,
                        id: 0,
                        label: vec![b'x'; 40],
                        domains: 0x8000,
                        capabilities: 0,
                        delegated: 0,
                        algorithm: algorithm::OPAQUE_DATA,
                        origin: origin::IMPORTED,
                        sequence: 0,
                        value: vec![0],
                    };
                    if self.state.insert(filler).is_err() {
                        break;
                    }
                }
                self.save()?;
            }
            Fault::CutPower { moment, command, skip } => self.power_cut = Some((moment, command, skip)),
            Fault::HttpErrors(count) => self.http_errors = count,
            Fault::Unplug => self.unplugged = true,
            Fault::Plug => {
                self.unplugged = false;
                self.boot()?;
            }
        }
        Ok(())
    }

    /// Takes a message as the connector hands it over.
    pub(crate) fn transceive(&mut self, message: &[u8]) -> io::Result<Outcome> {
        if self.unplugged {
            return Ok(Outcome::Http(502));
        }
        if self.http_errors > 0 {
            self.http_errors -= 1;
            return Ok(Outcome::Http(503));
        }
        let limit = if self.state.firmware >= [2, 4, 0] { 3136 } else { 2048 };
        let framed = if message.len() > limit { Err(DeviceError::WrongLength) } else { unframe(message) };
        let (code, data) = match framed {
            Ok(framed) => framed,
            Err(error) => return Ok(Outcome::Answer(answer(0, Err(error)))),
        };
        match code {
            command::ECHO => Ok(Outcome::Answer(answer(code, Ok(data.to_vec())))),
            command::DEVICE_INFO => Ok(Outcome::Answer(answer(code, device_info(&self.state, data)))),
            command::CREATE_SESSION => {
                let (key, result) = self.create_session(data);
                self.log(code, data.len(), NONE, (key, NONE), &result);
                self.finish(code, result)
            }
            command::AUTHENTICATE_SESSION => {
                let (key, result) = self.authenticate_session(data);
                self.log(code, data.len(), NONE, (key, NONE), &result);
                self.finish(code, result)
            }
            command::SESSION_MESSAGE => self.session_message(data),
            _ => Ok(Outcome::Answer(answer(code, Err(DeviceError::InvalidCommand)))),
        }
    }

    fn finish(&mut self, code: u8, result: Result<Vec<u8>, DeviceError>) -> io::Result<Outcome> {
        if self.is_audited(code) {
            self.save()?;
        }
        Ok(Outcome::Answer(answer(code, result)))
    }

    fn create_session(&mut self, data: &[u8]) -> (u16, Result<Vec<u8>, DeviceError>) {
        let mut reader = Reader(data);
        let (Ok(key), Ok(host_challenge), Ok(())) = (reader.u16(), reader.array(), reader.end()) else {
            return (NONE, Err(DeviceError::WrongLength));
        };
        let Some(object) = self.state.find(kind::AUTHENTICATION_KEY, key) else {
            return (key, Err(DeviceError::ObjectNotFound));
        };
        let value: [u8; 32] = object.value.as_slice().try_into().expect("only such values are stored");
        let now = self.clock.now();
        for slot in &mut self.sessions {
            if slot.as_ref().is_some_and(|s| now.saturating_sub(s.last_used) > IDLE) {
                *slot = None;
            }
        }
        let Some((number, slot)) = self.sessions.iter_mut().enumerate().find(|(_, slot)| slot.is_none()) else {
            return (key, Err(DeviceError::SessionsFull));
        };
        let id = u8::try_from(number).expect("below 16");
        let card_challenge = random::<8>();
        let channel = Channel::new(id, &value, host_challenge, card_challenge);
        let response = [&[id], card_challenge.as_slice(), &channel.card_cryptogram()].concat();
        *slot = Some(Session { key, channel, last_used: now });
        (key, Ok(response))
    }

    /// The session that a message names, if it is not idle for too long.
    fn slot(&mut self, data: &[u8]) -> Result<&mut Option<Session>, DeviceError> {
        let now = self.clock.now();
        let id = usize::from(*data.first().ok_or(DeviceError::WrongLength)?);
        let slot = self.sessions.get_mut(id).ok_or(DeviceError::InvalidSession)?;
        match slot {
            Some(session) if now.saturating_sub(session.last_used) <= IDLE => {
                session.last_used = now;
                Ok(slot)
            }
            _ => {
                *slot = None;
                Err(DeviceError::InvalidSession)
            }
        }
    }

    fn authenticate_session(&mut self, data: &[u8]) -> (u16, Result<Vec<u8>, DeviceError>) {
        let slot = match self.slot(data) {
            Ok(slot) => slot,
            Err(error) => return (NONE, Err(error)),
        };
        let Some(session) = slot else { return (NONE, Err(DeviceError::InvalidSession)) };
        let key = session.key;
        let result = session.channel.authenticate(data);
        if result.is_err() {
            *slot = None;
        }
        (key, result.map(|()| Vec::new()))
    }

    fn session_message(&mut self, body: &[u8]) -> io::Result<Outcome> {
        let refuse = |error| Ok(Outcome::Answer(answer(command::SESSION_MESSAGE, Err(error))));
        // Whoever has session messages audited finds the device deaf once its log is full.
        if self.is_blocked(command::SESSION_MESSAGE) {
            return refuse(DeviceError::LogFull);
        }
        let opened = self.slot(body).and_then(|slot| {
            let session = slot.as_mut().ok_or(DeviceError::InvalidSession)?;
            let opened = session.channel.open(body).map(|inner| (session.key, inner));
            if opened.is_err() {
                *slot = None;
            }
            opened
        });
        let (key, inner) = match opened {
            Ok(opened) => opened,
            Err(error) => return refuse(error),
        };
        self.log(command::SESSION_MESSAGE, body.len(), key, (NONE, NONE), &Ok(Vec::new()));
        let cut = self.power_cut_now(inner.first().copied());
        if cut == Some(Moment::Before) {
            self.boot()?;
            return Ok(Outcome::Nothing);
        }
        self.commands += 1;
        let (response, ends) = self.execute(key, &inner);
        self.save()?;
        if cut == Some(Moment::After) {
            self.boot()?;
            return Ok(Outcome::Nothing);
        }
        let slot = &mut self.sessions[usize::from(body[0])];
        let sealed = slot.as_mut().map(|session| session.channel.seal(&response));
        match ends {
            Ends::Nothing => {}
            Ends::Session => *slot = None,
            Ends::Device => {
                self.state.reset();
                self.boot()?;
            }
        }
        Ok(sealed.map_or(Outcome::Nothing, Outcome::Answer))
    }

    /// Runs a command of a session; gives the response in the clear.
    fn execute(&mut self, key: u16, inner: &[u8]) -> (Vec<u8>, Ends) {
        let (code, data) = match unframe(inner) {
            Ok(framed) => framed,
            Err(error) => return (answer(0, Err(error)), Ends::Nothing),
        };
        if self.is_blocked(code) {
            return (answer(code, Err(DeviceError::LogFull)), Ends::Nothing);
        }
        let Some(caller) = self.state.find(kind::AUTHENTICATION_KEY, key).cloned() else {
            // The session's key was deleted: nothing is left to do but to close.
            let ends = if code == command::CLOSE_SESSION { Ends::Session } else { Ends::Nothing };
            let result = if code == command::CLOSE_SESSION { Ok(Vec::new()) } else { Err(DeviceError::InvalidSession) };
            return (answer(code, result), ends);
        };
        let mut context = Context { state: &mut self.state, caller, target: NONE, second: NONE, ends: Ends::Nothing };
        let result = context.run(code, data);
        let (objects, ends) = ((context.target, context.second), context.ends);
        self.log(code, data.len(), key, objects, &result);
        (answer(code, result), ends)
    }

    /// Whether the power goes away around this command.
    fn power_cut_now(&mut self, code: Option<u8>) -> Option<Moment> {
        let (moment, only, skip) = self.power_cut.as_mut()?;
        if only.is_some() && *only != code {
            return None;
        }
        if *skip > 0 {
            *skip -= 1;
            return None;
        }
        let moment = *moment;
        self.power_cut = None;
        Some(moment)
    }
}
