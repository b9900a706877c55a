//! Who asked lately: each token is reviewed once in 30 s, however many requests come with it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use kube::Client;
use tokio::sync::Semaphore;

use super::reviews::{self, Caller, ReviewError, Token};

/// How long an answer holds, whether it was yes or no. A right that is taken away lasts no longer than this.
pub const KEPT: Duration = Duration::from_secs(30);

/// After a failure soon again, but not with each of a page's requests.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// Each is a hash and a set of names: about a megabyte, if somebody tries made-up tokens.
const REMEMBERED: usize = 1000;

/// Made-up tokens must not become a load on the API server.
const REVIEWS_AT_ONCE: usize = 16;

/// A person waits for this. The client would try for minutes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The namespaces that hold anything to be shown, as they are now.
pub type Namespaces = Box<dyn Fn() -> BTreeSet<String> + Send + Sync>;

/// None: nobody whom the API server knows.
pub type Answer = Result<Option<Arc<Caller>>, ReviewError>;

pub struct Callers {
    client: Client,
    namespaces: Namespaces,
    /// By the hash of the token.
    reviews: Mutex<HashMap<[u8; 32], Review>>,
    permits: Arc<Semaphore>,
}

/// What those who ask at the same time wait for together.
type Pending = Shared<BoxFuture<'static, Answer>>;

struct Review {
    asked: Instant,
    answer: Pending,
}

impl Review {
    fn holds(&self, now: Instant) -> bool {
        let kept = if matches!(self.answer.peek(), Some(Err(_))) { FAILURE_KEPT } else { KEPT };
        now.saturating_duration_since(self.asked) < kept
    }
}

impl Callers {
    pub fn new(client: Client, namespaces: Namespaces) -> Self {
        Self { client, namespaces, reviews: Mutex::default(), permits: Arc::new(Semaphore::new(REVIEWS_AT_ONCE)) }
    }

    /// `now` is when the request came.
    pub fn caller(&self, token: &Token, now: Instant) -> Pending {
        let hash = token.hash();
        let mut reviews = self.reviews.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(review) = reviews.get(&hash).filter(|review| review.holds(now)) {
            return review.answer.clone();
        }
        if reviews.len() >= REMEMBERED {
            reviews.retain(|_, review| review.holds(now));
        }
        if reviews.len() >= REMEMBERED
            && let Some(oldest) = reviews.iter().min_by_key(|(_, review)| review.asked).map(|(&hash, _)| hash)
        {
            reviews.remove(&oldest);
        }
        let answer = self.start(token.clone());
        reviews.insert(hash, Review { asked: now, answer: answer.clone() });
        answer
    }

    /// A task of its own: it goes on where the request that began it is given up, and others wait for the same.
    fn start(&self, token: Token) -> Pending {
        let (client, permits, namespaces) = (self.client.clone(), Arc::clone(&self.permits), (self.namespaces)());
        let review = async move {
            let _permit = permits.acquire_owned().await;
            reviews::caller(&client, &token, namespaces).await.map(|caller| caller.map(Arc::new))
        };
        let review = tokio::spawn(tokio::time::timeout(TIMEOUT, review));
        // A task that panicked gave no answer.
        let answer = |answer: Result<Result<Answer, _>, _>| match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ReviewError::TimedOut(TIMEOUT)),
            Err(_) => Err(ReviewError::Unreadable),
        };
        review.map(answer).boxed().shared()
    }
}
