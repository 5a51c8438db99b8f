//! The secure channel: SCP03 with AES-128 as the device speaks it (GlobalPlatform GPC_SPE_014).

use aes::Aes128;
use aes::cipher::block_padding::Iso7816;
use aes::cipher::{BlockDecryptMut as _, BlockEncrypt as _, BlockEncryptMut as _, KeyInit as _, KeyIvInit as _};
use cmac::{Cmac, Mac as _};

use crate::wire::{DeviceError, command, frame};

const MAC: usize = 8;

/// One end of a session: the device's.
pub(crate) struct Channel {
    id: u8,
    enc: [u8; 16],
    mac: [u8; 16],
    rmac: [u8; 16],
    context: [u8; 16],
    chain: [u8; 16],
    /// 0: not authenticated yet.
    counter: u32,
}

fn cmac(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = <Cmac<Aes128> as cmac::Mac>::new(key.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Key derivation of SCP03 §4.1.5: the counter mode of SP 800-108 with CMAC, one block.
fn derive(key: &[u8; 16], constant: u8, bits: u16, context: &[u8; 16]) -> [u8; 16] {
    let mut input = [0u8; 32];
    input[11] = constant;
    input[13..15].copy_from_slice(&bits.to_be_bytes());
    input[15] = 1;
    input[16..].copy_from_slice(context);
    cmac(key, &[&input])
}

impl Channel {
    /// Opens the device's end with an authentication key (encryption key, then MAC key) and both challenges.
    pub(crate) fn new(id: u8, key: &[u8; 32], host_challenge: [u8; 8], card_challenge: [u8; 8]) -> Self {
        let mut context = [0u8; 16];
        context[..8].copy_from_slice(&host_challenge);
        context[8..].copy_from_slice(&card_challenge);
        let (enc, mac) = key.split_at(16);
        let enc: [u8; 16] = enc.try_into().expect("half of 32");
        let mac: [u8; 16] = mac.try_into().expect("half of 32");
        Self {
            id,
            enc: derive(&enc, 0x04, 128, &context),
            mac: derive(&mac, 0x06, 128, &context),
            rmac: derive(&mac, 0x07, 128, &context),
            context,
            chain: [0; 16],
            counter: 0,
        }
    }

    fn cryptogram(&self, constant: u8) -> [u8; 8] {
        derive(&self.mac, constant, 64, &self.context)[..8].try_into().expect("half of 16")
    }

    /// What proves to the host that the device knows the key.
    pub(crate) fn card_cryptogram(&self) -> [u8; 8] {
        self.cryptogram(0)
    }

    pub(crate) const fn is_authenticated(&self) -> bool {
        self.counter != 0
    }

    /// Checks the MAC over `code ‖ length ‖ body`, where `body` ends with the MAC, and moves the chain.
    fn verify<'a>(&mut self, code: u8, body: &'a [u8]) -> Result<&'a [u8], DeviceError> {
        let at = body.len().checked_sub(MAC).ok_or(DeviceError::WrongLength)?;
        let header = frame(code, body);
        let chain = cmac(&self.mac, &[&self.chain, &header[..3 + at]]);
        if aws_lc_rs::constant_time::verify_slices_are_equal(&chain[..MAC], &body[at..]).is_err() {
            return Err(DeviceError::SessionFailed);
        }
        self.chain = chain;
        body.get(1..at).ok_or(DeviceError::WrongLength)
    }

    /// Takes the host's cryptogram (the body after code and length, session id first).
    pub(crate) fn authenticate(&mut self, body: &[u8]) -> Result<(), DeviceError> {
        if self.is_authenticated() {
            return Err(DeviceError::InvalidSession);
        }
        let expected = self.cryptogram(1);
        let given = self.verify(command::AUTHENTICATE_SESSION, body).map_err(|_| DeviceError::AuthenticationFailed)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected, given).map_err(|_| DeviceError::AuthenticationFailed)?;
        self.counter = 1;
        Ok(())
    }

    fn iv(&self) -> [u8; 16] {
        let mut block = [0u8; 16];
        block[12..].copy_from_slice(&self.counter.to_be_bytes());
        let mut block = block.into();
        Aes128::new(&self.enc.into()).encrypt_block(&mut block);
        block.into()
    }

    /// Opens a session message (session id first) and gives the command inside.
    pub(crate) fn open(&mut self, body: &[u8]) -> Result<Vec<u8>, DeviceError> {
        if !self.is_authenticated() {
            return Err(DeviceError::InvalidSession);
        }
        let ciphertext = self.verify(command::SESSION_MESSAGE, body)?.to_vec();
        cbc::Decryptor::<Aes128>::new(&self.enc.into(), &self.iv().into())
            .decrypt_padded_vec_mut::<Iso7816>(&ciphertext)
            .map_err(|_| DeviceError::SessionFailed)
    }

    /// Seals a response as a session message.
    pub(crate) fn seal(&mut self, response: &[u8]) -> Vec<u8> {
        let ciphertext = cbc::Encryptor::<Aes128>::new(&self.enc.into(), &self.iv().into()).encrypt_padded_vec_mut::<Iso7816>(response);
        let mut body = Vec::with_capacity(1 + ciphertext.len() + MAC);
        body.push(self.id);
        body.extend_from_slice(&ciphertext);
        body.extend_from_slice(&[0; MAC]);
        let mut message = frame(command::SESSION_MESSAGE | 0x80, &body);
        let at = message.len() - MAC;
        let mac = cmac(&self.rmac, &[&self.chain, &message[..at]]);
        message[at..].copy_from_slice(&mac[..MAC]);
        self.counter += 1;
        message
    }
}
