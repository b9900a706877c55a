//! What goes wrong, and how often: decided by a seed, so that a run can be repeated.
//!
//! Repeatable is the order of decisions of each source (a proxy, the workload, the kills), not the order in which the
//! machine lets requests come in.

use std::time::Duration;

/// splitmix64: small, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Another stream of decisions for each `purpose`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a: no hasher of the standard library promises the same numbers for ever.
        let hash = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(seed ^ hash)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 on, below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    pub fn in_hundred(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.below(u64::try_from(choices.len()).expect("a few"));
        &choices[usize::try_from(index).expect("below a length")]
    }

    /// From `least` to `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_millis()).expect("hours at most");
        least + Duration::from_millis(self.below(span + 1))
    }
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not arrive; this is the answer, in the server's own shape.
    Code(u16),
    /// 429 of the server's own shape.
    TooMany { retry_after_seconds: Option<u64> },
    /// It does not arrive; a load balancer answers 502 in HTML.
    Html,
    /// It does not arrive; an error whose body holds a number where an answer would.
    NumberInError,
    /// It does not arrive; the connection is reset.
    Reset,
    /// It does not arrive; nothing comes for so long, then the connection is reset.
    Stall(Duration),
    /// It arrives; the connection is reset instead of an answer.
    AnswerLost,
    /// It arrives; half of the answer comes.
    Half,
    /// It arrives; the answer comes in many small pieces.
    Drip,
    /// It arrives; 200 with JSON that means nothing.
    WrongJson,
}

impl Fault {
    /// `longest` bounds how long a request may hang.
    pub fn draw(dice: &mut Dice, longest: Duration) -> Self {
        match dice.below(17) {
            0 => Self::Code(401),
            1 => Self::Code(403),
            2 => Self::Code(404),
            3 => Self::Code(409),
            4 => Self::TooMany { retry_after_seconds: None },
            5 => Self::TooMany { retry_after_seconds: Some(1 + dice.below(3)) },
            6 => Self::Code(500),
            7 => Self::Html,
            8 => Self::Code(503),
            9 => Self::Reset,
            10 => Self::Stall(dice.between(Duration::from_secs(1), longest)),
            11 => Self::Half,
            12 => Self::Drip,
            13 => Self::WrongJson,
            14 => Self::NumberInError,
            15 => Self::Code(410),
            _ => Self::AnswerLost,
        }
    }

    /// Whether the server never sees the request.
    pub fn is_refusal(self) -> bool {
        match self {
            Self::Code(_) | Self::TooMany { .. } | Self::Html | Self::NumberInError | Self::Reset | Self::Stall(_) => {
                true
            }
            Self::AnswerLost | Self::Half | Self::Drip | Self::WrongJson => false,
        }
    }

    /// Whether the client learns nothing of what it asked for.
    pub fn is_harm(self) -> bool {
        self != Self::Drip
    }
}

/// How a watch that is open ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEnd {
    /// As the server ends it after its time.
    Clean,
    /// In the middle of a line.
    Cut,
    /// The event ERROR of code 410: its resourceVersion is not known any more.
    Expired,
    /// A line that is no JSON.
    Garbage,
}

impl WatchEnd {
    pub fn draw(dice: &mut Dice) -> Self {
        *dice.one_of(&[Self::Clean, Self::Cut, Self::Expired, Self::Garbage])
    }
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// Of the operators, the one of this number.
    KillOperator(usize),
    /// SIGSTOP, and SIGCONT after so long.
    Freeze(usize, Duration),
    KillEtcd,
    KillApiServer,
}

/// A storm: requests fail at random, and these blows fall at these moments after its beginning.
#[derive(Debug, Clone)]
pub struct Storm {
    pub lasts: Duration,
    pub blows: Vec<(Duration, Blow)>,
}

impl Storm {
    /// One that has every blow, in an order of its own. No operator is frozen for longer than this; one in `killable` is
    /// killed.
    pub fn with_every_blow(dice: &mut Dice, lasts: Duration, longest_freeze: Duration, killable: &[usize]) -> Self {
        let frozen = *dice.one_of(&[0, 1]);
        let mut left = vec![
            Blow::Freeze(frozen, dice.between(Duration::from_secs(2), longest_freeze)),
            Blow::KillEtcd,
            Blow::KillApiServer,
        ];
        if !killable.is_empty() {
            left.push(Blow::KillOperator(*dice.one_of(killable)));
        }
        Self::of(dice, lasts, left)
    }

    /// One in which each blow may fall or not.
    pub fn at_random(dice: &mut Dice, lasts: Duration, longest_freeze: Duration, killable: &[usize]) -> Self {
        let mut blows = Self::with_every_blow(dice, lasts, longest_freeze, killable).blows;
        blows.retain(|_| dice.in_hundred(50));
        Self { lasts, blows }
    }

    fn of(dice: &mut Dice, lasts: Duration, mut left: Vec<Blow>) -> Self {
        let share = lasts / u32::try_from(left.len() + 1).expect("a few");
        let mut blows = Vec::new();
        while !left.is_empty() {
            let index = dice.below(u64::try_from(left.len()).expect("a few"));
            let blow = left.swap_remove(usize::try_from(index).expect("below a length"));
            let start = share * u32::try_from(blows.len()).expect("a few");
            blows.push((dice.between(start, start + share), blow));
        }
        Self { lasts, blows }
    }
}
