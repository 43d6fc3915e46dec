//! Do with russh what driving.py describes; files go through commands, for SFTP is a crate of its own.

use std::sync::Arc;

use russh::client::{self, Handle};
use russh::keys::{load_secret_key, PrivateKeyWithHashAlg};
use russh::ChannelMsg;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _key: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

type Failure = Box<dyn std::error::Error>;

/// What became of a program.
#[derive(Default)]
struct Done {
    output: Vec<u8>,
    errors: Vec<u8>,
    status: u32,
}

async fn run(session: &Handle<Trusting>, command: Option<&str>, input: &[u8]) -> Result<Done, Failure> {
    let mut channel = session.channel_open_session().await?;
    match command {
        Some(command) => channel.exec(true, command).await?,
        None => {
            channel.request_pty(true, "xterm", 93, 31, 0, 0, &[]).await?;
            channel.request_shell(true).await?;
        }
    }
    let mut writer = channel.make_writer();
    let has_terminal = command.is_none();
    let input = input.to_vec();
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&input).await;
        if !has_terminal {
            let _ = writer.shutdown().await;
        }
    });
    let mut done = Done::default();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => done.output.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, .. } => done.errors.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => done.status = exit_status,
            _ => {}
        }
    }
    let _ = writing.await;
    Ok(done)
}

fn tell(name: &str, value: impl std::fmt::Display) {
    println!("{name}={value}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_string()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, user, kind, secret, up, down] = args.as_slice() else {
        return Err("six arguments are wanted".into());
    };
    let config = Arc::new(client::Config::default());
    let mut session = client::connect(config, ("127.0.0.1", port.parse()?), Trusting).await?;
    let result = if kind == "key" {
        let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(secret, None)?), None);
        session.authenticate_publickey(user, key).await?
    } else {
        session.authenticate_password(user, secret).await?
    };
    if !result.success() {
        return Err("not let in".into());
    }
    tell("version", "0.65.1");
    let first = run(&session, Some("echo out; echo err >&2; exit 7"), b"").await?;
    tell("output", text(&first.output));
    tell("errors", text(&first.errors));
    tell("status", first.status);
    if kind == "key" {
        tell("counted", text(&run(&session, Some("wc -c"), b"12345").await?.output));
        let shell = run(&session, None, b"stty size; exit 3\n").await?;
        tell("terminal", text(&shell.output).escape_debug());
        tell("left", shell.status);
        let mut content = Vec::new();
        tokio::fs::File::open(up).await?.read_to_end(&mut content).await?;
        let sent = run(&session, Some("cat >sent && sha256sum <sent"), &content).await?;
        tell("sent", text(&sent.output).split(' ').next().unwrap_or_default());
        tokio::fs::write(down, run(&session, Some("cat sent"), b"").await?.output).await?;
    }
    session.disconnect(russh::Disconnect::ByApplication, "", "en").await?;
    Ok(())
}
