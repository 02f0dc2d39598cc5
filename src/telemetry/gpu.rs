//! Graphics cards, as NVIDIA's management library tells. Without the library there are no cards and no series.

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

use super::catalogue::Gpu;
use super::metrics::Meters;

/// The cards found when the process started.
pub(super) struct Cards {
    nvml: Option<Nvml>,
    cards: Vec<(u32, Gpu)>,
}

impl Cards {
    pub(super) fn find(meters: &Meters) -> Self {
        let nvml = Nvml::init().ok();
        let count = nvml
            .as_ref()
            .and_then(|nvml| nvml.device_count().ok())
            .unwrap_or(0);
        let cards = (0..count).map(|index| (index, meters.gpu(index))).collect();
        Self { nvml, cards }
    }

    /// Asks the driver. A figure it does not have stays as it was.
    pub(super) fn sample(&self) {
        let Some(nvml) = &self.nvml else { return };
        for (index, meters) in &self.cards {
            let Ok(device) = nvml.device_by_index(*index) else {
                continue;
            };
            if let Ok(memory) = device.memory_info() {
                meters.memory_used.set(memory.used as f64);
                meters.memory_total.set(memory.total as f64);
            }
            if let Ok(busy) = device.utilization_rates() {
                meters.busy.set(f64::from(busy.gpu) / 100.0);
            }
            if let Ok(milliwatts) = device.power_usage() {
                meters.power.set(f64::from(milliwatts) / 1000.0);
            }
            if let Ok(celsius) = device.temperature(TemperatureSensor::Gpu) {
                meters.temperature.set(f64::from(celsius));
            }
        }
    }
}
