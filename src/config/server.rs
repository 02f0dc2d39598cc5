//! The `[server]` table: addresses, and who may stand in front.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// Where the server listens and what it believes of a request. The command line's `--addr` and `--port` win.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerConfig {
    /// Address to listen on (127.0.0.1). Anything but loopback needs credentials to be configured.
    pub addr: IpAddr,
    /// Port to listen on (8080).
    pub port: u16,
    /// Listener of `/metrics` and the operator's routes (127.0.0.1:9464). `""` turns it off. Off loopback they ask for an API key
    /// with the scope `admin`.
    #[serde(deserialize_with = "address_or_off")]
    pub admin_addr: Option<SocketAddr>,
    /// Also serve `/metrics` on the main port, without credentials, as Kyutai's server does (false).
    pub public_metrics: bool,
    /// When no row is free, say `no free channels` over the socket as Kyutai's server does, instead of letting clients without
    /// `extras` wait in the queue, or answering 503 (false).
    pub classic_full: bool,
    /// Also answer on the paths of OpenAI's, Deepgram's and Gradium's APIs, as they do (true): a client of theirs needs no more
    /// than another base URL.
    pub other_apis: bool,
    /// Peers whose `X-Forwarded-For` or `Forwarded` is believed, or `X-Real-IP` where there is neither: addresses or networks
    /// like `10.0.0.0/8` (none).
    pub trusted_proxies: Vec<Network>,
    /// Web origins, like `https://app.example.org`, whose pages may connect besides the server's own (none).
    pub allowed_origins: Vec<String>,
    /// Threads of the model (all cores but one).
    pub model_threads: Option<usize>,
    /// Program that decodes posted files, where it is not the one that runs: for tests, which are programs of their own.
    #[serde(skip)]
    pub decoder: Option<PathBuf>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            admin_addr: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))),
            public_metrics: false,
            classic_full: false,
            other_apis: true,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            model_threads: None,
            decoder: None,
        }
    }
}

impl ServerConfig {
    /// True when what `peer` says about the client's address is believed.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(peer))
    }
}

fn address_or_off<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(source)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        serde::de::Error::custom(format!(
            "`{text}` is not an address with a port, like 127.0.0.1:9464"
        ))
    })
}

/// An IP network in prefix notation; one address is a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// True when `address` lies in the network. An IPv4 address mapped into IPv6 counts as itself.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => same_prefix(
                u128::from(base.to_bits()) << 96,
                u128::from(address.to_bits()) << 96,
                self.prefix,
            ),
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                same_prefix(base.to_bits(), address.to_bits(), self.prefix)
            }
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, prefix: u8) -> bool {
    prefix == 0 || (a ^ b) >> (128 - u32::from(prefix)) == 0
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not an address or a network, like 10.0.0.0/8");
        let (base, prefix) = text
            .split_once('/')
            .map_or((text, None), |(base, prefix)| (base, Some(prefix)));
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|p| *p <= bits).ok_or_else(wrong)?,
            None => bits,
        };
        Ok(Self { base, prefix })
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
