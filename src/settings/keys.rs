//! Every key of the configuration: its name, what its value looks like, and what it does.
//!
//! The command line makes a flag of each, the file check refuses what is not here, and the tests hold
//! this list against the settings structs of the rooms.

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted name, in the file and as a flag.
    pub name: &'static str,
    /// Placeholder of its value in the help text.
    pub value: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Whether the value is text even where it looks like a number.
    pub is_text: bool,
}

const fn key(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { name, value, help, is_text: false }
}

const fn text(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { name, value, help, is_text: true }
}

/// All keys, by section.
pub const KEYS: &[Key] = &[
    text(
        "source",
        "SOURCE",
        "/dev/videoN, clip.avi, clip.y4m, folder of images, or - for Y4M or raw YUYV [default: first camera, else the bundled clip]",
    ),
    key(
        "sandbox",
        "BOOL",
        "Give up what the job does not need: network, other programs, files of others [default: false]",
    ),
    text("models.dir", "DIR", "Folder with one folder a model [default: nearest `models` above the program]"),
    text("models.detector", "NAME", "Detector: folder in models.dir, or path of a card [default: person_detector]"),
    text("models.backbone", "NAME", "ReID backbone: folder in models.dir, or path of a card [default: reid_backbone]"),
    text("models.fusion", "NAME", "Fusion weights: folder in models.dir, or path of a card [default: nformer]"),
    key("camera.width", "PX", "Width asked of the camera [default: 640]"),
    key("camera.height", "PX", "Height asked of the camera [default: 480]"),
    key("camera.fps", "FPS", "Rate asked of the camera, 0: its own [default: 0]"),
    text("camera.format", "FORMAT", "auto, yuyv, uyvy, nv12, i420, nm12, ym12, mjpeg, rgb or grey [default: auto]"),
    key("camera.buffers", "N", "Frame buffers shared with the kernel, 2 to 32 [default: 4]"),
    key("camera.timeout_ms", "MS", "Longest wait for a frame [default: 1000]"),
    key(
        "camera.frozen_ms",
        "MS",
        "Time without any change after which a picture counts as frozen, 0: off [default: 5000]",
    ),
    key("camera.frozen_reopen", "BOOL", "Open a frozen camera again [default: false]"),
    key("clip.loops", "N", "How often a clip starts again after its end [default: 0]"),
    key("clip.realtime", "BOOL", "Play a clip at its own speed instead of as fast as possible [default: false]"),
    key("clip.width", "PX", "Width of raw frames on standard input"),
    key("clip.height", "PX", "Height of raw frames on standard input"),
    key("clip.fps", "FPS", "Rate of raw frames and folders of images [default: 10]"),
    key("clip.frozen_ms", "MS", "As camera.frozen_ms, for a clip [default: 0]"),
    key("clip.faults", "SEED", "Add faults by chance, to try what is behind; 0: none [default: 0]"),
    text(
        "detector.kind",
        "KIND",
        "model, motion (static camera, no weights) or whole (the frame is one person) [default: model]",
    ),
    key("detector.every", "N", "Look for people in every n-th frame only [default: 1]"),
    key("detector.threshold", "SCORE", "Least score of a detection [default: the card's]"),
    key("detector.nms_iou", "IOU", "Overlap from which the weaker of two boxes is dropped [default: the card's]"),
    key("detector.min_height", "PX", "Least height of a person in the frame [default: 40]"),
    key("detector.max_aspect", "RATIO", "Largest width of a box as a multiple of its height [default: 1.5]"),
    key("detector.motion.width", "CELLS", "Cells of the small picture along the frame's width [default: 96]"),
    key("detector.motion.learning_rate", "SHARE", "Share of a new frame in the background [default: 0.02]"),
    key(
        "detector.motion.sensitivity",
        "SIGMA",
        "Standard deviations of a cell's noise that count as motion [default: 4]",
    ),
    key("detector.motion.min_difference", "LEVELS", "Least difference that counts as motion, of 255 [default: 12]"),
    key("detector.motion.warm_up", "FRAMES", "Frames to learn the background before anything is found [default: 10]"),
    key(
        "detector.motion.max_share",
        "SHARE",
        "Share of cells in motion above which the background is learnt anew [default: 0.6]",
    ),
    key("tracks.start_score", "SCORE", "Score from which a detection may start a track [default: 0.45]"),
    key("tracks.min_overlap", "IOU", "Least overlap of a track with its next detection [default: 0.15]"),
    key("tracks.grow", "SHARE", "Growth of boxes before their overlap is measured [default: 0.3]"),
    key("tracks.confirm", "N", "Detections in a row before a track is believed [default: 2]"),
    key("tracks.keep_lost_ms", "MS", "How long a track that is not seen is kept [default: 1200]"),
    key("tracks.settle", "N", "Embeddings asked for at the start of a track [default: 4]"),
    key("tracks.spacing", "FRAMES", "Frames between two embeddings of a new or unsure track [default: 2]"),
    key("tracks.refresh", "FRAMES", "Frames between two embeddings of a known track [default: 15]"),
    key("tracks.embeddings_per_frame", "N", "Embeddings computed for one frame at most [default: 4]"),
    key(
        "tracks.max_covered",
        "SHARE",
        "Share of a person hidden by others above which no embedding is taken [default: 0.4]",
    ),
    key("crop.margin", "SHARE", "Added to a box on each side before it is cut out [default: 0]"),
    key("crop.min_height", "PX", "Least height of a box to be embedded [default: 40]"),
    key("crop.min_width", "PX", "Least width of a box to be embedded [default: 12]"),
    key(
        "crop.min_aspect_at_side",
        "RATIO",
        "Least width of a box at a side of the frame, as a share of its height [default: 0.3]",
    ),
    key(
        "crop.max_aspect_at_end",
        "RATIO",
        "Largest width of a box at the top or bottom of the frame, as a share of its height [default: 0.65]",
    ),
    key(
        "backbone.threads",
        "N",
        "Threads that share the crops of one frame, 1 to 8, each with memory of its own [default: 1]",
    ),
    text("neighbors.rows", "KIND", "What a row is: track (the mean of its embeddings) or embedding [default: track]"),
    key(
        "neighbors.agreement",
        "COSINE",
        "Similarity to its track's row below which an embedding begins another row [default: 0.6]",
    ),
    text(
        "neighbors.eviction",
        "POLICY",
        "Row that makes room in a full buffer: redundant (of a track with many rows, the one most like another) or fifo (the oldest) [default: redundant]",
    ),
    key("nformer.top_k", "K", "Neighbours of a row [default: the card's]"),
    text("nformer.precision", "PRECISION", "f32, or int8 for a quarter of the memory [default: f32]"),
    key("gallery.similarity", "SCORE", "Score from which a person is known: similarity, and lead [default: 0.86]"),
    key("gallery.lead", "FACTOR", "What being ahead of the next identity adds to the score [default: 1.5]"),
    key("gallery.crowd", "COSINE", "Similarity that strangers have at least [default: 0.5]"),
    key("gallery.doubt", "SCORE", "How far below `similarity` somebody is new; unsure between [default: 0.2]"),
    key("gallery.first", "SCORE", "More than `similarity`, asked before min_embeddings [default: 0.1]"),
    key("gallery.contradiction", "COSINE", "Similarity below which a track's own identity is doubted [default: 0.45]"),
    key(
        "gallery.merge",
        "COSINE",
        "Similarity of two prototypes from which two identities never seen together are one [default: 0.9]",
    ),
    key("gallery.patience", "N", "Embeddings of a track after which the answer is put off no longer [default: 8]"),
    key("gallery.min_embeddings", "N", "Embeddings of a track before it may be new [default: 2]"),
    key("gallery.ttl_s", "S", "Identities not seen for this long are forgotten [default: 86400]"),
    text("state.dir", "DIR", "Folder that keeps who was seen across restarts: embeddings and numbers, no pictures"),
    key("state.interval_s", "S", "Seconds between two saves of the state [default: 60]"),
    text(
        "state.key_file",
        "FILE",
        "Key that encrypts the state: 32 bytes or 64 hexadecimal digits, not readable by others",
    ),
    key("report.stdout", "BOOL", "Write NDJSON lines to standard output [default: true]"),
    key("report.health_interval_s", "S", "Seconds between two health messages, 0: none [default: 10]"),
    key("report.rate_hz", "HZ", "Most sightings a second and track, 0: each frame [default: 0]"),
    key("report.queue", "N", "Messages that wait for a slow sink; then the oldest is dropped [default: 256]"),
    text("report.health_on_stdout", "WHEN", "auto (live sources only), always or never [default: auto]"),
    text("report.serial.port", "PORT", "Serial port to write to, for example /dev/ttyUSB0"),
    key("report.serial.baud", "BAUD", "Symbols a second [default: 115200]"),
    text("report.serial.format", "FORMAT", "ndjson or binary (COBS frames with checksum) [default: ndjson]"),
    key("report.serial.write_timeout_ms", "MS", "Longest wait for one message to leave [default: 1000]"),
];
