//! systemd over D-Bus: the kubelet is a unit, and `systemctl` is not in the agent's image.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use zbus::{Connection, MatchRule, MessageStream};
use zbus::{OwnedObjectPath, OwnedVariant};

use super::error::NodeError;
use crate::pki::hex;

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The unit of the kubelet.
pub(crate) const KUBELET: &str = "kubelet.service";

/// Longest wait for a start or restart job.
const JOB: Duration = Duration::from_secs(60);

/// One run of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState {
    /// `active`, `activating`, `failed` …
    pub active: String,
    /// The InvocationID of this run, hex: new at each start.
    pub invocation: String,
    /// When the main process was started (ExecMainStartTimestamp).
    pub started: Timestamp,
}

/// The system manager behind a D-Bus socket. Each call makes its own connection: calls are rare, and systemd may re-execute.
#[derive(Clone, Debug)]
pub struct Systemd {
    socket: PathBuf,
}

impl Systemd {
    /// For the system bus at this path. Nothing is sent yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf() }
    }

    /// What a unit does now.
    ///
    /// # Errors
    /// The bus does not answer or there is no such unit.
    pub async fn unit(&self, name: &str) -> Result<UnitState, NodeError> {
        let bus = self.connect().await?;
        self.unit_on(&bus, name).await
    }

    /// Restarts a unit; done when systemd's job is done and the unit is active in a new invocation.
    ///
    /// # Errors
    /// The bus does not answer, the job fails, or it takes longer than a minute.
    pub async fn restart(&self, name: &str) -> Result<UnitState, NodeError> {
        let bus = self.connect().await?;
        let before = self.unit_on(&bus, name).await?;
        // Without a subscriber systemd sends no JobRemoved; the match stands before the job does, so none can be missed.
        self.call::<_, ()>(&bus, MANAGER_PATH, MANAGER, "Subscribe", &()).await?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()
            .map_err(|error| self.failed(&error))?;
        let mut signals = MessageStream::for_match_rule(rule, &bus, None).await.map_err(|error| self.failed(&error))?;
        let job: OwnedObjectPath = self.call(&bus, MANAGER_PATH, MANAGER, "RestartUnit", &(name, "replace")).await?;
        let done = async {
            while let Some(message) = signals.next().await {
                let message = message.map_err(|error| self.failed(&error))?;
                let body = message.body();
                let removed = body.deserialize::<(u32, OwnedObjectPath, String, String)>();
                match removed {
                    Ok((_, path, _, result)) if path == job => return Ok(result),
                    _ => {}
                }
            }
            Err(self.problem("the connection ended".to_owned()))
        };
        let result = tokio::time::timeout(JOB, done).await.map_err(|_| NodeError::Timeout {
            what: format!("systemd has not finished restarting {name}"),
            seconds: JOB.as_secs(),
            hint: "see journalctl -u kubelet on the node",
        })??;
        let after = self.unit_on(&bus, name).await?;
        if result == "done" && after.invocation != before.invocation {
            return Ok(after);
        }
        Err(self.problem(format!("restarting {name} ended as {result}, the unit is {}", after.active)))
    }

    /// Has systemd read its unit files again.
    ///
    /// # Errors
    /// The bus does not answer, or nobody there is systemd.
    pub async fn reload(&self) -> Result<(), NodeError> {
        let bus = self.connect().await?;
        self.call(&bus, MANAGER_PATH, MANAGER, "Reload", &()).await
    }

    async fn unit_on(&self, bus: &Connection, name: &str) -> Result<UnitState, NodeError> {
        // LoadUnit and not GetUnit: a unit that has stopped may have been dropped from memory.
        let path: OwnedObjectPath = self.call(bus, MANAGER_PATH, MANAGER, "LoadUnit", &(name,)).await?;
        let active: String = self.property(bus, path.as_str(), UNIT, "ActiveState").await?;
        let invocation: Vec<u8> = self.property(bus, path.as_str(), UNIT, "InvocationID").await?;
        let started: u64 = self.property(bus, path.as_str(), SERVICE, "ExecMainStartTimestamp").await?;
        let started = i64::try_from(started).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
        Ok(UnitState { active, invocation: hex(&invocation), started: started.unwrap_or(Timestamp::UNIX_EPOCH) })
    }

    async fn property<T>(&self, bus: &Connection, path: &str, interface: &str, name: &str) -> Result<T, NodeError>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: std::fmt::Display,
    {
        let value: OwnedVariant = self.call(bus, path, PROPERTIES, "Get", &(interface, name)).await?;
        T::try_from(value).map_err(|error| self.problem(format!("{interface}.{name}: {error}")))
    }

    async fn call<B, R>(
        &self,
        bus: &Connection,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<R, NodeError>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
        R: serde::de::DeserializeOwned + zbus::zvariant::Type,
    {
        let answer = bus
            .call_method(Some(DESTINATION), path, Some(interface), method, body)
            .await
            .map_err(|error| self.failed(&error))?;
        answer.body().deserialize().map_err(|error| self.failed(&error))
    }

    async fn connect(&self) -> Result<Connection, NodeError> {
        let stream = UnixStream::connect(&self.socket).map_err(|error| self.problem(error.to_string()))?;
        zbus::connection::Builder::unix_stream(stream).build().await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &zbus::Error) -> NodeError {
        self.problem(error.to_string())
    }

    fn problem(&self, problem: String) -> NodeError {
        NodeError::Systemd { socket: self.socket.display().to_string(), problem }
    }
}
