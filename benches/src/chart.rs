//! The chart: a bar for every time, on a logarithmic scale, grouped by row.

use crate::report::{Figure, Report, System, Unit};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 740.0;
const TOP: f64 = 44.0;
const BAR: f64 = 15.0;
const TITLE: f64 = 26.0;

/// Follows the reader's light or dark colour scheme.
const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; }
.axis, .value { fill: #59636e; }
.grid { stroke: #d1d9e0; }
.ours { fill: #0969da; }
.peer { fill: #bc4c00; }
.baseline { fill: #818b98; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .axis, .value { fill: #9198a1; }
  .grid { stroke: #3d444d; }
  .ours { fill: #4493f8; }
  .peer { fill: #f0883e; }
}
";

/// The times of a report as SVG. Figures in other units are only in the table.
pub(crate) fn svg(report: &Report) -> String {
    let times = |what: &str| -> Vec<&Figure> {
        report.figures_of(what).into_iter().filter(|f| f.unit == Unit::Seconds && f.p50 > 0.0).collect()
    };
    let rows: Vec<_> = report.rows().into_iter().map(|what| (what, times(what))).filter(|r| !r.1.is_empty()).collect();
    let all = || rows.iter().flat_map(|(_, figures)| figures).map(|f| f.p50.log10());
    let first = all().fold(0.0, f64::min).floor();
    let last = all().fold(first + 1.0, f64::max).ceil();
    // The smallest figure still has a visible bar.
    let x = |log: f64| LEFT + (RIGHT - LEFT) * (log - first + 0.05) / (last - first + 0.05);
    let height = rows.iter().fold(TOP, |y, (_, figures)| y + TITLE + BAR * figures.len() as f64) + 16.0;

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Times of deltalakedb and its peers, logarithmic\">\n<style>\n{STYLE}</style>\n\
         <text class=\"axis\" x=\"{LEFT}\" y=\"16\">median time, logarithmic: shorter is better</text>\n"
    );
    let mut decade = first;
    while decade <= last {
        let at = x(decade);
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <text class=\"axis\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            TOP - 4.0,
            height - 12.0,
            TOP - 9.0,
            label(decade),
        ));
        decade += 1.0;
    }
    let mut y = TOP;
    for (what, figures) in &rows {
        y += TITLE;
        svg.push_str(&format!("<text class=\"title\" x=\"8\" y=\"{:.1}\">{}</text>\n", y - 7.0, escaped(what)));
        for figure in figures {
            bar(&mut svg, figure, y, x(figure.p50.log10()));
            y += BAR;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(svg: &mut String, figure: &Figure, y: f64, end: f64) {
    let class = match figure.system {
        System::Baseline => "baseline",
        s if s.is_ours() => "ours",
        _ => "peer",
    };
    let base = y + BAR - 4.0;
    svg.push_str(&format!(
        "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>\
         <text class=\"value\" x=\"{:.1}\" y=\"{base:.1}\">{}</text>\n",
        LEFT - 8.0,
        figure.system.name(),
        y + 1.0,
        end - LEFT,
        BAR - 3.0,
        end + 6.0,
        figure.show(),
    ));
}

/// `10 ms` for -2.
fn label(decade: f64) -> String {
    match decade {
        d if d >= 0.0 => format!("{:.0} s", 10f64.powf(d)),
        d if d >= -3.0 => format!("{:.0} ms", 10f64.powf(d + 3.0)),
        d => format!("{:.0} µs", 10f64.powf(d + 6.0)),
    }
}

/// Markdown's code marks have no meaning here.
fn escaped(text: &str) -> String {
    text.replace('`', "").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
