//! The buffer against plain models of its two policies, and what the policies mean for people.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

use crate::kernels::dot;

const WIDTH: usize = 3;

fn tag(number: u32) -> Tag {
    Tag { track: TrackId(number), time: Duration::from_millis(number.into()) }
}

fn unit(number: u32) -> [f32; WIDTH] {
    let mut values = [number as f32 + 1.0, 1.0, -0.5];
    Embedding::normalise(&mut values).unwrap();
    values
}

fn push<const N: usize>(buffer: &mut NeighborBuffer<N>, number: u32) -> Pushed {
    let mut values = unit(number);
    buffer.push(Embedding::normalise(&mut values).unwrap(), tag(number)).unwrap()
}

/// A row of the plain model, oldest first.
#[derive(Clone, Debug)]
struct Kept {
    slot: usize,
    tag: Tag,
    values: [f32; WIDTH],
}

/// The place in `rows` of the one that the redundant policy gives up, straight from its definition.
fn redundant(rows: &[Kept]) -> (usize, Eviction) {
    let mut best = (0, f32::NEG_INFINITY, Eviction::Oldest);
    for (at, row) in rows.iter().enumerate() {
        let track: Vec<usize> = (0..rows.len()).filter(|other| rows[*other].tag.track == row.tag.track).collect();
        if track.len() <= KEPT_OF_TRACK {
            continue;
        }
        for other in track.into_iter().filter(|other| *other != at) {
            let similarity = dot(&row.values, &rows[other].values);
            if similarity > best.1 {
                best = (at, similarity, Eviction::Redundant);
            }
        }
    }
    (best.0, best.2)
}

proptest! {
    /// Against a queue of (number, slot): what is held, what goes, and that a row never moves.
    #[test]
    fn fifo_behaves_like_a_queue(steps in proptest::collection::vec(0_u8..12, 0..200)) {
        let mut buffer = NeighborBuffer::<7>::new(WIDTH, EvictionPolicy::Fifo).unwrap();
        let mut model: VecDeque<(u32, usize)> = VecDeque::new();
        for (number, step) in (0_u32..).zip(steps) {
            if step == 0 {
                buffer.clear();
                model.clear();
            }
            let pushed = push(&mut buffer, number);
            let gone = if model.len() == 7 { model.pop_front() } else { None };
            let expected = gone.map(|(gone, slot)| Evicted { slot, tag: tag(gone), reason: Eviction::Oldest });
            prop_assert_eq!(pushed.evicted, expected);
            prop_assert_eq!(pushed.slot, gone.map_or(model.len(), |(_, slot)| slot));
            model.push_back((number, pushed.slot));

            prop_assert_eq!(buffer.len(), model.len());
            prop_assert_eq!(buffer.rows().len(), model.len() * WIDTH);
            for (number, slot) in &model {
                prop_assert_eq!(buffer.tag(*slot), Some(tag(*number)));
                let mut expected = unit(*number);
                let expected = Embedding::normalise(&mut expected).unwrap();
                prop_assert_eq!(buffer.row(*slot), Some(expected.as_slice()));
            }
            prop_assert_eq!(buffer.tag(model.len()), None);
            prop_assert_eq!(buffer.row(model.len()), None);
        }
    }

    /// Few tracks and few different values: ties and duplicates are the rule.
    #[test]
    fn redundant_behaves_like_its_definition(
        steps in proptest::collection::vec((0_u32..4, -2_i8..=2, -2_i8..=2, 0_u8..60), 0..150)
    ) {
        const ROWS: usize = 24;
        let mut buffer = NeighborBuffer::<ROWS>::new(WIDTH, EvictionPolicy::Redundant).unwrap();
        let mut model: Vec<Kept> = Vec::new();
        for (number, (track, x, y, clear)) in (0_u64..).zip(steps) {
            if clear == 0 {
                buffer.clear();
                model.clear();
            }
            let mut values = [f32::from(x), f32::from(y), 1.0];
            let embedding = Embedding::normalise(&mut values).unwrap();
            let tag = Tag { track: TrackId(track), time: Duration::from_millis(number) };
            let pushed = buffer.push(embedding, tag).unwrap();
            let mut slot = model.len();
            if slot == ROWS {
                let (at, reason) = redundant(&model);
                let gone = model.remove(at);
                slot = gone.slot;
                prop_assert_eq!(pushed.evicted, Some(Evicted { slot, tag: gone.tag, reason }));
            } else {
                prop_assert_eq!(pushed.evicted, None);
            }
            prop_assert_eq!(pushed.slot, slot);
            model.push(Kept { slot, tag, values });
            for kept in &model {
                prop_assert_eq!(buffer.tag(kept.slot), Some(kept.tag));
                prop_assert_eq!(buffer.row(kept.slot), Some(&kept.values[..]));
            }
        }
    }
}

/// Values in `-1.0..1.0`, the same each time.
struct Noise(u64);

impl Noise {
    fn value(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

/// A buffer, and people who pass by: each has a centre, and each embedding is that plus some noise.
struct Scene {
    buffer: NeighborBuffer<64>,
    noise: Noise,
}

impl Scene {
    const WIDTH: usize = 32;

    fn new(policy: EvictionPolicy) -> Self {
        Self { buffer: NeighborBuffer::new(Self::WIDTH, policy).unwrap(), noise: Noise(5) }
    }

    /// `count` embeddings of the person with the number of the track, as far apart as `spread`.
    fn show(&mut self, track: u32, count: usize, spread: f32) {
        for _ in 0..count {
            let mut centre = Noise(u64::from(track).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut row: Vec<f32> = (0..Self::WIDTH).map(|_| centre.value() + spread * self.noise.value()).collect();
            let embedding = Embedding::normalise(&mut row).unwrap();
            self.buffer.push(embedding, Tag { track: TrackId(track), time: Duration::ZERO }).unwrap();
        }
    }

    fn rows_of(&self, track: u32) -> usize {
        self.buffer.tags().iter().filter(|tag| tag.track == TrackId(track)).count()
    }
}

/// Five people passed by, then the sixth stands still for an hour, seen each three seconds: 1200 nearly equal rows.
#[test]
fn a_person_standing_still_does_not_push_the_others_out() {
    for (policy, others_left) in [(EvictionPolicy::Fifo, 0), (EvictionPolicy::Redundant, 5 * 6)] {
        let mut scene = Scene::new(policy);
        for track in 1..=5 {
            scene.show(track, 6, 0.4);
        }
        scene.show(6, 1200, 0.05);
        let others: usize = (1..=5).map(|track| scene.rows_of(track)).sum();
        assert_eq!((others, scene.rows_of(6)), (others_left, 64 - others_left), "{policy:?}");

        // Somebody new gets room from the one who stands there, not from those who left.
        scene.show(7, 6, 0.4);
        assert_eq!(scene.rows_of(7), 6, "{policy:?}");
        let others: usize = (1..=5).map(|track| scene.rows_of(track)).sum();
        assert_eq!(others, others_left, "{policy:?}");
    }
}

/// A busy corridor: hundreds of people with a few rows each. Whoever is in view now keeps all of them, and who left
/// goes in order: the newest rows of a track are its most similar ones, but that is no reason to lose them.
#[test]
fn who_passes_by_keeps_all_rows_until_they_are_old() {
    for policy in [EvictionPolicy::Fifo, EvictionPolicy::Redundant] {
        let mut scene = Scene::new(policy);
        for track in 1..=300 {
            scene.show(track, KEPT_OF_TRACK, 0.2);
            assert_eq!(scene.rows_of(track), KEPT_OF_TRACK, "{policy:?}, track {track}");
        }
        let held: Vec<u32> = (1..=300).filter(|track| scene.rows_of(*track) > 0).collect();
        assert_eq!(held, (293..=300).collect::<Vec<_>>(), "{policy:?}");
    }
}

/// Of a long track the rows that differ stay: a person who turns once keeps the view from behind.
#[test]
fn a_rare_view_stays() {
    let mut scene = Scene::new(EvictionPolicy::Redundant);
    scene.show(1, 2, 0.9);
    let rare: Vec<Vec<f32>> = scene.buffer.rows().chunks(Scene::WIDTH).map(<[f32]>::to_vec).collect();
    scene.show(1, 500, 0.05);
    for rare in &rare {
        assert!(scene.buffer.rows().chunks(Scene::WIDTH).any(|row| row == rare));
    }
}

#[test]
fn expired_rows_make_room_first_oldest_first_whatever_the_policy_protects() {
    for policy in [EvictionPolicy::Fifo, EvictionPolicy::Redundant] {
        let mut buffer = NeighborBuffer::<14>::new(WIDTH, policy).unwrap().with_ttl(Duration::from_millis(100));
        let mut push = |track: u32, ms: u64, number: u32| {
            let tag = Tag { track: TrackId(track), time: Duration::from_millis(ms) };
            buffer.push(Embedding::normalise(&mut unit(number)).unwrap(), tag).unwrap().evicted
        };
        // Two of a short track, then a long one.
        for number in 0..14 {
            let (track, ms) = if number < 2 { (1, u64::from(number)) } else { (2, 50) };
            assert_eq!(push(track, ms, number), None);
        }
        let gone: Vec<_> = [102, 103].map(|ms| push(2, ms, 20).unwrap()).map(|gone| (gone.slot, gone.reason)).into();
        assert_eq!(gone, [(0, Eviction::Expired), (1, Eviction::Expired)], "{policy:?}");
        // Those of 50 ms are exactly as old as they may be at 150.
        assert_ne!(push(2, 150, 21).unwrap().reason, Eviction::Expired);
        assert_eq!(push(2, 151, 22).unwrap().reason, Eviction::Expired);
    }
}

#[test]
fn another_width_is_refused_and_nothing_changes() {
    let mut buffer = NeighborBuffer::<2>::new(WIDTH, EvictionPolicy::default()).unwrap();
    push(&mut buffer, 1);
    let mut wide = [1.0; WIDTH + 1];
    let refused = buffer.push(Embedding::normalise(&mut wide).unwrap(), tag(2));
    assert!(matches!(refused, Err(Error::EmbeddingWidth { expected: 3, found: 4, .. })));
    assert_eq!((buffer.len(), buffer.tags()), (1, &[tag(1)][..]));
}

#[test]
fn impossible_widths_are_refused() {
    let new = |width| NeighborBuffer::<2>::new(width, EvictionPolicy::Fifo);
    assert!(matches!(new(0), Err(Error::EmbeddingWidth { .. })));
    assert!(matches!(new(MAX_EMBEDDING + 1), Err(Error::TooLarge { .. })));
}

#[test]
fn the_bytes_do_not_change() {
    for policy in [EvictionPolicy::Fifo, EvictionPolicy::Redundant] {
        let mut buffer = NeighborBuffer::<4>::new(WIDTH, policy).unwrap();
        let bytes = buffer.bytes();
        for number in 0..9 {
            push(&mut buffer, number);
        }
        assert_eq!(buffer.bytes(), bytes);
        assert!(bytes >= 4 * (WIDTH * size_of::<f32>() + size_of::<Tag>()));
        assert_eq!(NeighborBuffer::<NEIGHBORS>::new(WIDTH, policy).unwrap().capacity(), NEIGHBORS);
    }
}

#[test]
fn policies_are_written_in_small_letters() {
    let read = |text: &str| toml::from_str::<NeighborSettings>(text);
    assert_eq!(read("eviction = \"fifo\"").unwrap().eviction, EvictionPolicy::Fifo);
    assert_eq!(read("eviction = \"redundant\"").unwrap().eviction, EvictionPolicy::default());
    assert!(read("eviction = \"Oldest\"").is_err());
    assert_eq!(read("rows = \"embedding\"").unwrap().rows, RowKind::Embedding);
    assert_eq!(read("rows = \"track\"").unwrap().rows, RowKind::default());
    assert!(read("agreement = 1.5").unwrap().validate().is_err());
    assert!(read("").unwrap().validate().is_ok());
}
