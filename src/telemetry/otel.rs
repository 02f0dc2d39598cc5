//! Spans of sessions to an OpenTelemetry collector, over OTLP/HTTP.
//!
//! On when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `..._TRACES_ENDPOINT`) is set; the other variables of the OpenTelemetry
//! specification (headers, timeout, protocol, resource attributes, batch sizes) work too. What a span holds is what a log
//! line may hold (see [`super::logs`]). Spans wait in a bounded queue and are dropped where the collector is too slow.

use std::env;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
/// The name in traces where `OTEL_SERVICE_NAME` gives none.
const SERVICE: &str = "moshi-server";
/// Where the collector does not answer at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends what is still in memory when it is dropped.
pub(super) struct Exporter(SdkTracerProvider);

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

/// The layer that exports, and its guard; nothing where no collector is named.
///
/// # Errors
/// A variable of the environment is not understood.
pub(super) fn layer<S>() -> Result<Option<(impl Layer<S>, Exporter)>, ExporterBuildError>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    if !ENDPOINTS
        .iter()
        .any(|name| env::var_os(name).is_some_and(|v| !v.is_empty()))
    {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client(agent()))
        .build()?;
    let mut resource = Resource::builder();
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(SERVICE);
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE))
        .with_location(false)
        .with_threads(false)
        // libraries have spans of their own, which say nothing of sessions
        .with_filter(filter_fn(|metadata| {
            metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
        }));
    Ok(Some((layer, Exporter(provider))))
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .proxy(None);
    config.build().into()
}

/// OTLP's requests by the HTTP client that the rest of the server uses, on the exporter's own thread.
#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The status is the exporter's to judge.
        let mut answer = self.0.run(request.map(|body| body.to_vec()))?;
        let body = answer.body_mut().with_config().limit(1 << 20).read_to_vec()?;
        Ok(Response::builder().status(answer.status()).body(body.into())?)
    }
}
