//! Tests of the gallery on made-up embeddings.

use proptest::prelude::*;

use super::*;

const WIDTH: usize = 8;

/// A unit vector near axis `axis`; `lean` pulls it towards the next axis.
fn vector(axis: usize, lean: f32) -> Vec<f32> {
    let mut values = vec![0.0; WIDTH];
    values[axis % WIDTH] = 1.0;
    values[(axis + 1) % WIDTH] = lean;
    assert!(l2_normalise(&mut values));
    values
}

/// Similarity alone: known from 0.7, new below 0.6.
fn settings() -> GallerySettings {
    GallerySettings { min_embeddings: 1, similarity: 0.7, lead: 0.0, doubt: 0.1, ..GallerySettings::default() }
}

fn gallery() -> Gallery {
    Gallery::new(settings(), WIDTH)
}

fn ask(gallery: &mut Gallery, people: &[Vec<f32>], now: u64) -> Vec<Assignment> {
    let queries: Vec<Query<'_>> = people.iter().map(|embedding| Query { embedding, embeddings: 1 }).collect();
    gallery.assign(&queries, &[], Duration::from_secs(now)).into_iter().collect()
}

fn known(assignment: &Assignment) -> Option<u32> {
    match assignment {
        Assignment::Known { id, .. } => Some(id.0),
        _ => None,
    }
}

#[test]
fn a_stranger_is_new_and_known_when_back() {
    let mut gallery = gallery();
    assert_eq!(ask(&mut gallery, &[vector(0, 0.0)], 0), [Assignment::New { id: IdentityId(1) }]);
    assert_eq!(ask(&mut gallery, &[vector(3, 0.0)], 1), [Assignment::New { id: IdentityId(2) }]);
    assert_eq!(known(&ask(&mut gallery, &[vector(0, 0.2)], 600)[0]), Some(1));
}

#[test]
fn a_grey_answer_is_put_off_with_its_candidates_until_patience_ends() {
    let mut gallery = gallery();
    ask(&mut gallery, &[vector(0, 0.0)], 0);
    // cos = 1 / sqrt(1 + 1.1^2) = 0.673: between 0.6 and 0.7.
    let grey = vector(0, 1.1);
    let answer = ask(&mut gallery, std::slice::from_ref(&grey), 1);
    let Assignment::Unsure { candidates } = &answer[0] else { panic!("{answer:?}") };
    assert_eq!(candidates.len(), 1);
    assert_eq!(candidates[0].id, IdentityId(1));
    assert!((candidates[0].similarity - 0.673).abs() < 1e-3);

    let query = Query { embedding: &grey, embeddings: GallerySettings::default().patience };
    let answer = gallery.assign(&[query], &[], Duration::from_secs(2));
    assert_eq!(answer[0], Assignment::New { id: IdentityId(2) }, "there is no more to wait for");
}

#[test]
fn two_people_of_a_frame_never_share_an_identity() {
    let mut gallery = gallery();
    ask(&mut gallery, &[vector(0, 0.0)], 0);
    let answers = ask(&mut gallery, &[vector(0, 0.1), vector(0, 0.05)], 1);
    assert_eq!(known(&answers[1]), Some(1), "the nearer one: {answers:?}");
    assert_eq!(answers[0], Assignment::New { id: IdentityId(2) });
}

#[test]
fn who_is_in_view_cannot_be_somebody_else_too() {
    let mut gallery = gallery();
    ask(&mut gallery, &[vector(0, 0.0)], 0);
    let query = Query { embedding: &vector(0, 0.0), embeddings: 1 };
    let answers = gallery.assign(&[query], &[IdentityId(1)], Duration::from_secs(1));
    assert_eq!(answers[0], Assignment::New { id: IdentityId(2) });
}

#[test]
fn who_stands_out_is_known_and_a_tie_between_two_is_unsure() {
    let mut gallery = Gallery::new(GallerySettings { similarity: 0.8, lead: 0.5, crowd: 0.5, ..settings() }, WIDTH);
    ask(&mut gallery, &[vector(0, 0.0), vector(1, 0.0)], 0);
    let mut between = vec![0.0; WIDTH];
    between[..2].copy_from_slice(&[1.0, 1.0]);
    assert!(l2_normalise(&mut between));
    let answer = ask(&mut gallery, &[between], 1);
    let Assignment::Unsure { candidates } = &answer[0] else { panic!("{answer:?}") };
    assert_eq!(candidates.len(), 2, "0.707 to both, and 0.8 is needed");

    // As similar to the first, and not to the second: 0.707 + 0.5 * (0.707 - 0.5) = 0.81.
    let mut aside = vec![0.0; WIDTH];
    (aside[0], aside[4]) = (1.0, 1.0);
    assert!(l2_normalise(&mut aside));
    assert_eq!(known(&ask(&mut gallery, std::slice::from_ref(&aside), 2)[0]), Some(1));
    gallery.settings.crowd = 0.6;
    let answer = ask(&mut gallery, &[aside], 3);
    assert!(matches!(answer[0], Assignment::Unsure { .. }), "0.76 where strangers are that similar: {answer:?}");
}

#[test]
fn the_first_embedding_must_be_clearer_and_makes_nobody_new() {
    let mut gallery = Gallery::new(GallerySettings { min_embeddings: 2, first: 0.1, ..settings() }, WIDTH);
    let answers = ask(&mut gallery, &[vector(0, 0.0)], 0);
    assert!(matches!(&answers[0], Assignment::Unsure { candidates } if candidates.is_empty()), "{answers:?}");
    let mut twice = |embedding: &[f32], embeddings| {
        gallery.assign(&[Query { embedding, embeddings }], &[], Duration::from_secs(1)).remove(0)
    };
    assert_eq!(twice(&vector(0, 0.0), 2), Assignment::New { id: IdentityId(1) });
    // cos = 0.743 and 0.958; 0.8 is needed at first, 0.7 then.
    assert!(matches!(twice(&vector(0, 0.9), 1), Assignment::Unsure { .. }));
    assert_eq!(known(&twice(&vector(0, 0.9), 2)), Some(1));
    assert_eq!(known(&twice(&vector(0, 0.3), 1)), Some(1));
}

#[test]
fn a_prototype_follows_the_rows_and_keeps_what_left() {
    let mut gallery = gallery();
    ask(&mut gallery, &[vector(0, 0.0)], 0);
    let moved = vector(4, 0.0);
    gallery.follow([(IdentityId(1), moved.as_slice())].into_iter());
    assert_eq!(
        known(&ask(&mut gallery, std::slice::from_ref(&moved), 1)[0]),
        Some(1),
        "the row moved, the prototype with it"
    );

    gallery.retire(IdentityId(1), &moved);
    gallery.follow(std::iter::empty());
    assert_eq!(known(&ask(&mut gallery, &[moved], 2)[0]), Some(1), "without a row in the buffer");
    assert!(known(&ask(&mut gallery, &[vector(0, 0.0)], 3)[0]).is_none(), "what it was before fusion is gone");
}

#[test]
fn the_unseen_are_forgotten_and_their_numbers_never_used_again() {
    let settings = GallerySettings { ttl_s: 60, ..settings() };
    let mut gallery = Gallery::new(settings, WIDTH);
    ask(&mut gallery, &[vector(0, 0.0), vector(2, 0.0)], 0);
    gallery.see(Duration::from_secs(50), [IdentityId(2)].into_iter());
    gallery.see(Duration::from_secs(61), std::iter::empty());
    assert_eq!((gallery.len(), gallery.forgotten()), (1, 1));
    assert_eq!(known(&ask(&mut gallery, &[vector(2, 0.0)], 62)[0]), Some(2), "moved in the table, still itself");
    assert_eq!(ask(&mut gallery, &[vector(0, 0.0)], 63), [Assignment::New { id: IdentityId(3) }]);
}

#[test]
fn a_full_gallery_forgets_the_least_recently_seen() {
    let mut gallery = Gallery::new(GallerySettings { similarity: 1.0, doubt: 0.0, ..settings() }, WIDTH);
    for person in 0..=MAX_IDENTITIES {
        let lean = person as f32 / 10.0;
        ask(&mut gallery, &[vector(person, lean)], person as u64);
    }
    assert_eq!((gallery.len(), gallery.forgotten()), (MAX_IDENTITIES, 1));
    assert!(gallery.find(IdentityId(1)).is_none());
    assert!(gallery.find(IdentityId(2)).is_some());
}

#[test]
fn two_identities_whose_prototypes_come_to_agree_are_merged() {
    let mut gallery = gallery();
    ask(&mut gallery, &[vector(0, 0.0)], 0);
    ask(&mut gallery, &[vector(3, 0.0)], 10);
    ask(&mut gallery, &[vector(5, 0.0)], 20);
    let everybody = [IdentityId(1), IdentityId(2), IdentityId(3)];
    assert_eq!(gallery.merge(everybody.into_iter()), None, "three different people");

    let rows = [(IdentityId(1), vector(0, 0.0)), (IdentityId(2), vector(3, 0.0)), (IdentityId(3), vector(0, 0.2))];
    gallery.follow(rows.iter().map(|(id, row)| (*id, row.as_slice())));
    let merge = gallery.merge([IdentityId(3)].into_iter());
    assert_eq!(merge, Some(Merge { kept: IdentityId(1), gone: IdentityId(3) }), "the older number stays");
    assert_eq!(gallery.len(), 2);
    assert_eq!(known(&ask(&mut gallery, &[vector(0, 0.1)], 30)[0]), Some(1));
    assert_eq!(known(&ask(&mut gallery, &[vector(3, 0.0)], 31)[0]), Some(2), "the third one is untouched");
}

#[test]
fn two_who_were_seen_together_are_never_merged() {
    let mut gallery = gallery();
    ask(&mut gallery, &[vector(0, 0.0), vector(3, 0.0), vector(5, 0.0)], 0);
    gallery.see(Duration::from_secs(1), [IdentityId(1), IdentityId(3)].into_iter());
    let rows = [(IdentityId(1), vector(0, 0.0)), (IdentityId(2), vector(0, 0.05)), (IdentityId(3), vector(0, 0.1))];
    gallery.follow(rows.iter().map(|(id, row)| (*id, row.as_slice())));
    let merge = gallery.merge([IdentityId(3)].into_iter());
    assert_eq!(merge, Some(Merge { kept: IdentityId(2), gone: IdentityId(3) }), "3 met 1, but not 2");
    assert_eq!(gallery.merge([IdentityId(2)].into_iter()), None, "2 is 3 as well now, and 3 met 1");
}

#[test]
fn a_known_person_is_not_evicted_by_a_new_one_of_the_same_frame() {
    let settings = GallerySettings { similarity: 1.0, doubt: 0.0, ..settings() };
    let mut gallery = Gallery::new(settings, WIDTH);
    for person in 0..MAX_IDENTITIES {
        ask(&mut gallery, &[vector(person, person as f32 / 10.0)], person as u64);
    }
    gallery.settings.similarity = 0.9999;
    assert_eq!(gallery.len(), MAX_IDENTITIES);
    // The least recently seen one comes back together with a stranger.
    let stranger: Vec<f32> = vector(0, 0.0).iter().map(|value| -value).collect();
    let answers = ask(&mut gallery, &[stranger, vector(0, 0.0)], 100_000);
    assert_eq!(known(&answers[1]), Some(1), "{answers:?}");
    assert!(gallery.find(IdentityId(1)).is_some());
    assert!(gallery.find(IdentityId(2)).is_none(), "the next oldest made room");
}

#[test]
fn settings_out_of_range_are_named() {
    let bad = GallerySettings { similarity: f32::NAN, ..GallerySettings::default() };
    assert!(bad.validate().expect_err("NaN").to_string().contains("gallery.similarity"));
    let bad = GallerySettings { ttl_s: 0, ..GallerySettings::default() };
    assert!(bad.validate().expect_err("zero").to_string().contains("gallery.ttl_s"));
}

proptest! {
    #[test]
    fn people_of_one_frame_get_different_identities(
        frames in prop::collection::vec(prop::collection::vec((0usize..WIDTH, 0.0f32..2.0), 1..12), 1..20),
    ) {
        let mut gallery = gallery();
        for (now, people) in frames.iter().enumerate() {
            let people: Vec<Vec<f32>> = people.iter().map(|&(axis, lean)| vector(axis, lean)).collect();
            let answers = ask(&mut gallery, &people, now as u64);
            prop_assert_eq!(answers.len(), people.len());
            let mut ids: Vec<u32> = answers.iter().filter_map(|answer| match answer {
                Assignment::Known { id, .. } | Assignment::New { id } => Some(id.0),
                Assignment::Unsure { .. } => None,
            }).collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), count);
        }
    }
}
