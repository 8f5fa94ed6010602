//! Samples of several contenders taken in turn, so that a machine's moods hit all of them alike.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Runs something this often and says how long that took
pub type Contender<'a> = Box<dyn FnMut(u64) -> Duration + 'a>;

/// How thoroughly to measure
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Samples of each contender in one process
    pub rounds: usize,
    /// How long one such sample takes at least
    pub slice: Duration,
    /// Rounds of measures that start processes
    pub jobs: usize,
    /// Multiplies the messages of each such round
    pub volume: u64,
}

impl Effort {
    /// Three minutes for everything
    pub const QUICK: Self = Self { rounds: 9, slice: Duration::from_millis(2), jobs: 4, volume: 1 };
    /// As long as it takes for figures that repeat
    pub const FULL: Self = Self { rounds: 25, slice: Duration::from_millis(8), jobs: 9, volume: 3 };

    /// A quarter of the jobs, for figures that nothing is decided by, and for those far from their target
    #[must_use]
    pub const fn fewer(self) -> Self {
        Self { jobs: self.jobs.div_ceil(4), ..self }
    }
}

/// A call that needs nothing prepared; dropping what it returns counts
pub fn plain<'a, T>(mut call: impl FnMut() -> T + 'a) -> Contender<'a> {
    Box::new(move |times| {
        let began = Instant::now();
        for _ in 0..times {
            black_box(call());
        }
        began.elapsed()
    })
}

/// A call that takes its input; making the input and dropping the result do not count
pub fn consuming<'a, I, T>(mut make: impl FnMut() -> I + 'a, mut call: impl FnMut(I) -> T + 'a) -> Contender<'a> {
    const AT_ONCE: u64 = 16;
    Box::new(move |times| {
        let mut took = Duration::ZERO;
        let mut left = times;
        while left > 0 {
            let now = left.min(AT_ONCE);
            let inputs: Vec<I> = (0..now).map(|_| make()).collect();
            let mut results = Vec::with_capacity(inputs.len());
            let began = Instant::now();
            for input in inputs {
                results.push(black_box(call(input)));
            }
            took += began.elapsed();
            left -= now;
        }
        took
    })
}

/// Seconds per call: one list per contender, whose n-th entries were taken one after the other
#[must_use]
pub fn in_turn(effort: Effort, mut contenders: Vec<Contender<'_>>) -> Vec<Vec<f64>> {
    let times: Vec<u64> = contenders.iter_mut().map(|contender| calls_per_slice(effort.slice, contender)).collect();
    let mut samples = vec![Vec::with_capacity(effort.rounds); contenders.len()];
    for _ in 0..effort.rounds {
        for ((contender, times), samples) in contenders.iter_mut().zip(&times).zip(&mut samples) {
            samples.push(contender(*times).as_secs_f64() / number(*times));
        }
    }
    samples
}

fn calls_per_slice(slice: Duration, contender: &mut Contender<'_>) -> u64 {
    let mut times = 1;
    loop {
        let took = contender(times);
        if took >= slice || times >= 1 << 30 {
            return times;
        }
        times *= if took * 16 < slice { 8 } else { 2 };
    }
}

/// The middle value; of an even number, the mean of the two in the middle. Not a number when there is none
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => f64::NAN,
        (1, Some(value)) => *value,
        (_, Some(value)) => sorted.get(middle.wrapping_sub(1)).map_or(*value, |before| before.midpoint(*value)),
    }
}

/// The value that this share of all lies at or below, by rank
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let rank = (number(sorted.len().try_into().unwrap_or(u64::MAX)) * share).ceil();
    sorted.get(whole(rank).saturating_sub(1).min(last)).copied().unwrap_or(f64::NAN)
}

/// The median of `of[n] / by[n]`: neighbours in time are compared, so that drift cancels
#[must_use]
pub fn ratio(of: &[f64], by: &[f64]) -> f64 {
    median(&of.iter().zip(by).map(|(of, by)| of / by).collect::<Vec<_>>())
}

/// A count as a floating-point number
#[must_use]
#[expect(clippy::as_conversions, reason = "std has no other conversion; counts here are far below 2^53")]
pub const fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::as_conversions, reason = "std has no other conversion; it saturates")]
const fn whole(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles_are_those_of_the_textbook() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        let sorted: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!([0.5, 0.99, 0.999, 1.0].map(|share| quantile(&sorted, share)), [500.0, 990.0, 999.0, 1000.0]);
    }

    #[test]
    fn ratio_of_neighbours_cancels_a_slow_moment_of_the_machine() {
        assert_eq!(ratio(&[1.0, 10.0, 1.0], &[2.0, 20.0, 2.0]), 0.5);
    }

    /// Work whose time is known, however busy the machine is
    fn taking<'a>(micros: u64) -> Contender<'a> {
        Box::new(move |times| Duration::from_micros(micros * times))
    }

    #[test]
    fn longer_work_is_measured_as_longer() {
        let samples = in_turn(Effort { rounds: 5, ..Effort::QUICK }, vec![taking(20), taking(1)]);
        assert_eq!(samples.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
        assert!((ratio(&samples[0], &samples[1]) - 20.0).abs() < 1e-9, "{samples:?}");
    }

    #[test]
    fn each_call_counts_but_what_prepares_it_does_not() {
        let pause = || std::thread::sleep(Duration::from_millis(2));
        assert!(plain(pause)(3) >= Duration::from_millis(6));
        assert!(consuming(|| (), |()| pause())(3) >= Duration::from_millis(6));
        let began = Instant::now();
        let took = consuming(pause, |()| ())(3);
        assert!(took + Duration::from_millis(6) <= began.elapsed(), "{took:?}");
    }
}
