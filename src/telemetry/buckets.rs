//! Bounds of the histograms, by what they measure.

use std::time::Duration;

/// One frame: what a step may take in all.
pub const STEP_BUDGET: Duration = crate::stream::frame::FRAME_DURATION;

/// Bounds for step times, dense below the 80 ms budget.
pub const STEP: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.012, 0.016, 0.024, 0.032, 0.040, 0.048, 0.056, 0.064, 0.072, 0.080, 0.096,
    0.120, 0.160, 0.320,
];
/// Bounds for what a listener waits for; 0.5 and 2.5 are the delays of the published models.
pub const WORD: &[f64] = &[
    0.1, 0.16, 0.25, 0.35, 0.5, 0.56, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0,
];
/// Bounds for how far a stream is behind.
pub const LAG: &[f64] = &[
    0.005, 0.010, 0.020, 0.040, 0.080, 0.120, 0.160, 0.240, 0.320, 0.5, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0,
];
/// Bounds for checks that take microseconds unless a key set has to be fetched.
pub const CHECK: &[f64] = &[
    0.000_002, 0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5,
];
/// Bounds for waits of people.
pub const WAIT: &[f64] = &[
    0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0,
];
/// Bounds for the length of sessions.
pub const SESSION: &[f64] = &[
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0,
];
/// Bounds for speed against real time; 1 is live.
pub const SPEED: &[f64] = &[
    0.25, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0, 1.02, 1.1, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0,
];
/// Bounds for rows in a step.
pub const ROWS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0,
];
