//! The report as one HTML file that needs nothing else: tables, and plots drawn as SVG.

use std::fmt::Write as _;

use super::report::Report;
use super::tally::{Latency, Tally};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
/// Room for the numbers at the axes.
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 34.0;
const COLOURS: [&str; 4] = ["#3366cc", "#dc8a00", "#c33", "#2a8f5b"];

/// A curve and its name.
type Curve = (String, Vec<(f64, f64)>);

/// The whole page.
#[must_use]
pub fn page(report: &Report, tally: &Tally) -> String {
    let mut page = String::from(HEAD);
    let _ = write!(
        page,
        "<h1>{} streams for {:.0} s</h1><p>{} · {} · moshi-server load {}</p>",
        report.streams,
        report.duration,
        escape(&report.target),
        escape(&report.at),
        report.version
    );
    let _ = write!(page, "<pre>{}</pre>", escape(&report.to_string()));
    for (what, name, meaning) in Latency::ALL {
        if tally.quantiles(what).count == 0 {
            continue;
        }
        let over_time = [(0.5, "p50"), (0.95, "p95"), (0.99, "p99")]
            .map(|(q, label)| (label.to_owned(), tally.over_time(what, q)));
        let _ = write!(page, "<h2>{name}: {meaning}</h2><div>");
        page.push_str(&plot("over the test", "s into the test", "s", &over_time));
        let shares = vec![("share not above".to_owned(), tally.series(what).all.shares())];
        page.push_str(&plot("distribution", "s", "share", &shares));
        page.push_str("</div>");
    }
    if let Some(search) = &report.search {
        let mut lag: Vec<_> = search
            .probes
            .iter()
            .map(|p| (p.streams as f64, p.lag_p99))
            .collect();
        lag.sort_by(|a, b| a.0.total_cmp(&b.0));
        let limit = lag.iter().map(|(n, _)| (*n, report.slo.lag_p99)).collect();
        page.push_str("<h2>search</h2>");
        page.push_str(&plot(
            "lag by number of streams",
            "streams",
            "s",
            &[("lag p99".to_owned(), lag), ("objective".to_owned(), limit)],
        ));
    }
    page.push_str("</body></html>\n");
    page
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Load report</title><style>\
body{font:15px/1.5 system-ui,sans-serif;max-width:84rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
pre{background:#f5f5f5;padding:1rem;overflow-x:auto}svg{max-width:100%;height:auto;margin-right:1rem}\
</style></head><body>";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A plot of `curves`, both axes from 0.
#[must_use]
pub fn plot(title: &str, x_unit: &str, y_unit: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let top = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0f64, f64::max).max(1e-6) * 1.05;
    let (x_top, y_top) = (top(&mut points().map(|p| p.0)), top(&mut points().map(|p| p.1)));
    let x = |v: f64| LEFT + v / x_top * (WIDTH - LEFT - 12.0);
    let y = |v: f64| HEIGHT - BOTTOM - v / y_top * (HEIGHT - BOTTOM - 28.0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" font-size=\"11\" font-family=\"sans-serif\">\
         <title>{}</title><text x=\"{LEFT}\" y=\"14\" font-weight=\"bold\">{}</text>",
        escape(title),
        escape(title)
    );
    for i in 0..=4 {
        let share = f64::from(i) / 4.0;
        let (at_x, at_y) = (x(x_top * share), y(y_top * share));
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at_y:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{at_x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            WIDTH - 12.0,
            LEFT - 5.0,
            at_y + 4.0,
            number(y_top * share),
            HEIGHT - BOTTOM + 14.0,
            number(x_top * share)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{} / {}</text>",
        WIDTH - 12.0,
        HEIGHT - 4.0,
        escape(x_unit),
        escape(y_unit)
    );
    for (i, (name, points)) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let line: Vec<String> = points
            .iter()
            .map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b)))
            .collect();
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>\
             <text x=\"{:.0}\" y=\"14\" fill=\"{colour}\">{}</text>",
            line.join(" "),
            LEFT + 190.0 + 110.0 * i as f64,
            escape(name)
        );
    }
    svg + "</svg>"
}

fn number(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v if v >= 0.01 || v == 0.0 => format!("{v:.3}"),
        v => format!("{v:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stay_inside_and_larger_values_stand_higher() {
        let svg = plot(
            "a",
            "s",
            "s",
            &[("b".to_owned(), vec![(0.0, 0.0), (1.0, 1.0), (2.0, 4.0)])],
        );
        let points = svg
            .split("points=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap();
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|p| {
                p.split_once(',')
                    .map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()))
                    .unwrap()
            })
            .collect();
        assert!(
            points
                .iter()
                .all(|(a, b)| (LEFT..WIDTH).contains(a) && (0.0..=HEIGHT - BOTTOM).contains(b)),
            "{points:?}"
        );
        assert!(points[0].1 > points[1].1 && points[1].1 > points[2].1);
    }

    #[test]
    fn what_a_server_says_is_text_not_markup() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
        assert!(!plot("<script>", "s", "s", &[]).contains("<script>"));
    }
}
