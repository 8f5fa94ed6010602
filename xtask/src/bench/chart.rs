//! A horizontal bar chart as SVG: rows of one bar for each series, whiskers from the lowest to the highest sample.

use std::fmt::Write as _;

/// One bar of a row
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// Which of the chart's series
    pub(crate) series: usize,
    pub(crate) value: f64,
    /// Lowest and highest sample, where there are several
    pub(crate) range: Option<(f64, f64)>,
    /// What stands beside it
    pub(crate) text: String,
    /// A mark for what is aimed at
    pub(crate) target: Option<f64>,
}

/// What is compared
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) bars: Vec<Bar>,
}

/// A chart
#[derive(Debug)]
pub(crate) struct Chart {
    /// The message, as a sentence
    pub(crate) title: &'static str,
    /// What the bars are, and which way is better
    pub(crate) subtitle: &'static str,
    pub(crate) series: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    /// How values are written on an axis of which each further step is ten times the one before; else it is linear
    pub(crate) logarithmic: Option<fn(f64) -> String>,
}

const COLOURS: [&str; 4] = ["#0b6e99", "#c9a227", "#8a8f98", "#b5533c"];
const WIDTH: f64 = 920.0;
/// Where bars begin and end
const LEFT: f64 = 300.0;
const RIGHT: f64 = 780.0;
const TOP: f64 = 92.0;
/// Characters of a label that stand in one line left of the bars
const LABEL: usize = 37;
const LINE: f64 = 13.0;
const BAR: f64 = 17.0;
const GAP: f64 = 13.0;

impl Chart {
    /// The SVG's text
    pub(crate) fn svg(&self) -> String {
        let bars: f64 = self.rows.iter().map(|row| BAR * float(row.bars.len()) + GAP).sum();
        let bottom = TOP + bars;
        let height = bottom + 34.0;
        let scale = Scale::of(self);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"13\" role=\"img\">\n\
             <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
            escaped(self.title),
        );
        text(&mut svg, (20.0, 28.0), "start", self.title, "font-size=\"17\" font-weight=\"600\" fill=\"#1c2024\"");
        text(&mut svg, (20.0, 48.0), "start", self.subtitle, "fill=\"#5b6169\"");
        let mut x = 20.0;
        for (name, colour) in self.series.iter().zip(COLOURS) {
            let _ = writeln!(svg, "<rect x=\"{x}\" y=\"60\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>");
            text(&mut svg, (x + 18.0, 71.0), "start", name, "fill=\"#1c2024\"");
            x += 42.0 + 7.6 * float(name.chars().count());
        }
        if self.rows.iter().flat_map(|row| &row.bars).any(|bar| bar.target.is_some()) {
            let _ = writeln!(svg, "<path d=\"M{} 58v16\" stroke=\"#b00020\" stroke-width=\"2.5\"/>", x + 4.0);
            text(&mut svg, (x + 12.0, 71.0), "start", "target", "fill=\"#1c2024\"");
        }
        for value in scale.ticks() {
            let (x, label) = (scale.x(value), self.logarithmic.unwrap_or(plain)(value));
            let _ = writeln!(svg, "<path d=\"M{x:.1} {:.1}V{bottom:.1}\" stroke=\"#e3e6ea\"/>", TOP - 8.0);
            text(&mut svg, (x, bottom + 16.0), "middle", &label, "fill=\"#5b6169\" font-size=\"11\"");
        }
        let mut y = TOP;
        for row in &self.rows {
            self.row(&mut svg, row, &scale, y);
            y += BAR * float(row.bars.len()) + GAP;
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn row(&self, svg: &mut String, row: &Row, scale: &Scale, top: f64) {
        let height = BAR * float(row.bars.len());
        let lines = lines(&row.label);
        let mut y = top + height / 2.0 + 4.5 - LINE * (float(lines.len()) - 1.0) / 2.0;
        for line in lines {
            text(svg, (LEFT - 12.0, y), "end", &line, "fill=\"#1c2024\"");
            y += LINE;
        }
        for (place, bar) in row.bars.iter().enumerate() {
            let y = top + BAR * float(place);
            let end = scale.x(bar.value);
            let colour = COLOURS.get(bar.series).copied().unwrap_or("#8a8f98");
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{colour}\"/>",
                y + 1.0,
                (end - LEFT).max(1.0),
                BAR - 2.0,
            );
            let mut beside = end;
            if let Some((low, high)) = bar.range {
                let (low, high, middle) = (scale.x(low), scale.x(high), y + BAR / 2.0);
                let _ = writeln!(
                    svg,
                    "<path d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v6M{high:.1} {:.1}v6\" stroke=\"#1c2024\" \
                     stroke-width=\"1\" fill=\"none\"/>",
                    middle - 3.0,
                    middle - 3.0,
                );
                beside = beside.max(high);
            }
            if let Some(target) = bar.target {
                let x = scale.x(target);
                beside = beside.max(x);
                let _ = writeln!(svg, "<path d=\"M{x:.1} {y:.1}v{BAR}\" stroke=\"#b00020\" stroke-width=\"2.5\"/>");
            }
            text(svg, (beside + 7.0, y + BAR / 2.0 + 4.5), "start", &bar.text, "fill=\"#1c2024\" font-size=\"12\"");
        }
    }
}

/// Values to places between [`LEFT`] and [`RIGHT`]
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    fn of(chart: &Chart) -> Self {
        let bars = chart.rows.iter().flat_map(|row| &row.bars);
        let end =
            |bar: &Bar| bar.range.map_or(bar.value, |(_, high)| high).max(bar.value).max(bar.target.unwrap_or(0.0));
        let high = bars.clone().map(end).fold(0.0, f64::max);
        let high = if high > 0.0 { high } else { 1.0 };
        if chart.logarithmic.is_none() {
            return Self { low: 0.0, high, logarithmic: false };
        }
        let low = bars.map(|bar| bar.range.map_or(bar.value, |(low, _)| low.min(bar.value))).fold(high, f64::min);
        // A bar needs some length even for the lowest value.
        Self { low: 10.0_f64.powf((low.max(high / 1e9) / 2.0).log10().floor()), high, logarithmic: true }
    }

    fn x(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            value / self.high
        };
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = (0..12).map(|power| self.low * 10.0_f64.powi(power));
            return decades.take_while(|value| *value <= self.high).collect();
        }
        let rough = self.high / 5.0;
        let decade = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * decade >= rough).unwrap_or(10.0) * decade;
        (0..12).map(|n| f64::from(n) * step).take_while(|value| *value <= self.high).collect()
    }
}

/// A label in as many lines as it needs
fn lines(label: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in label.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LABEL => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A plain number
pub(crate) fn plain(value: f64) -> String {
    // Sums of steps such as 0.1 leave a tail of digits.
    let rounded = (value * 1e6).round() / 1e6;
    format!("{rounded}")
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str, style: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{}</text>", escaped(words));
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(logarithmic: bool) -> Chart {
        let bar = |series, value: f64| Bar {
            series,
            value,
            range: Some((value * 0.9, value * 1.1)),
            text: format!("{value}"),
            target: Some(7.0),
        };
        let rows = vec![Row { label: "a <b> & c".to_owned(), bars: vec![bar(0, 2.0), bar(1, 400.0)] }];
        Chart {
            title: "T",
            subtitle: "S",
            series: vec!["ours", "theirs"],
            rows,
            logarithmic: logarithmic.then_some(plain),
        }
    }

    #[test]
    fn labels_cannot_end_the_markup() {
        let svg = chart(false).svg();
        assert!(svg.contains("a &lt;b&gt; &amp; c") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn labels_stay_left_of_the_bars() {
        assert_eq!(lines("publish 1 KB"), ["publish 1 KB"]);
        let label = "publish 1 KB, at most 1,024 messages on their way";
        assert_eq!(lines(label), ["publish 1 KB, at most 1,024 messages", "on their way"]);
        let mut chart = chart(false);
        chart.rows[0].label = label.to_owned();
        assert!(chart.svg().contains(">on their way</text>"));
    }

    #[test]
    fn bars_stay_inside_and_larger_values_are_longer_on_both_scales() {
        for logarithmic in [false, true] {
            let scale = Scale::of(&chart(logarithmic));
            let places = [0.0, 2.0, 7.0, 400.0, 440.0, 1e9].map(|value| scale.x(value));
            assert!(places.is_sorted() && places[1] < places[2] && places[2] < places[3], "{places:?}");
            assert!(places.iter().all(|x| (LEFT..=RIGHT).contains(x)), "{places:?}");
            assert!((1..=12).contains(&scale.ticks().len()), "{:?}", scale.ticks());
        }
    }
}
