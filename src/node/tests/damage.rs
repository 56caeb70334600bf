//! Ways in which files break, or are broken: the bytes of any file, the armour of PEM and what is in it, the lines of YAML.
//! The command-line tests are built with this file too, so it uses nothing of the crate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A generator of Marsaglia's xorshift family: the same choices in every run.
struct Random(u64);

/// Makes a broken file out of a good one.
type Damage = fn(&[u8], &mut Random) -> Vec<u8>;

const BYTES: [(&str, Damage); 7] = [
    ("one bit", bit),
    ("cut off", cut),
    ("a piece lost", lost),
    ("a piece twice", doubled),
    ("noise in it", noise),
    ("nothing but noise", only_noise),
    ("a length that promises more than there is", long),
];
const ARMOUR: [(&str, Damage); 3] = [("a wrong label", label), ("no base64", base64), ("in the base64", inside)];
const YAML: [(&str, Damage); 2] = [("a line", line), ("another line", line)];

/// Words of PEM and kubeconfigs, and those that may stand in their place.
const LABELS: [(&str, &str); 12] = [
    ("BEGIN", "END"),
    ("END", "BEGIN"),
    ("-----", "----"),
    (" CERTIFICATE", " EC PRIVATE KEY"),
    (" CERTIFICATE", " CERTIFICATE REQUEST"),
    (" CERTIFICATE", " ÄÖÜ"),
    (" EC PRIVATE KEY", " CERTIFICATE"),
    (" EC PRIVATE KEY", " RSA PRIVATE KEY"),
    (" EC PRIVATE KEY", " ENCRYPTED PRIVATE KEY"),
    ("client-certificate-data", "client-key-data"),
    ("client-key-data", "client-certificate-data"),
    ("certificate-authority-data", "certificate-authority"),
];

/// Values that YAML reads as something else than a text, or not at all.
const VALUES: [&str; 16] = [
    "[",
    "{",
    "'",
    "\"",
    "|",
    ">-",
    "&a [*a]",
    "*nobody",
    "!!binary ?",
    "!!int x",
    "~",
    "- -",
    "@",
    "9e999999",
    "\u{0}",
    "\u{feff}---",
];

impl Random {
    const fn new(seed: u64) -> Self {
        // Never zero, out of which this generator makes nothing but zeros.
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed << 1))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or_default()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..=self.below(most)).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }

    /// Where a piece of at least one byte begins and ends.
    fn piece(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.below(bytes.len());
        (start, start + 1 + self.below(bytes.len() - start - 1))
    }
}

/// A file, broken so many times by chance, and then in ways that chance does not find; each with what was done to it. The choices are the same
/// in every run.
pub(crate) fn broken(file: &str, content: &[u8], times: usize) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let (ways, mut random) = (damages(file), Random::new(file.bytes().map(u64::from).sum()));
    let by_chance = (0..times).map(move |number| {
        let (name, damage) = ways[number % ways.len()];
        (name, damage(content, &mut random))
    });
    by_chance.chain(extremes())
}

/// What can happen to a file of this name.
fn damages(file: &str) -> Vec<(&'static str, Damage)> {
    let of_its_kind: [&[_]; 2] = match file.rsplit('.').next() {
        Some("yaml") => [&YAML, &YAML],
        Some("conf") => [&ARMOUR, &YAML],
        _ => [&ARMOUR, &[]],
    };
    [&BYTES, of_its_kind[0], of_its_kind[1]].concat()
}

fn extremes() -> Vec<(&'static str, Vec<u8>)> {
    let der = |bytes: &[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(bytes)).into_bytes()
    };
    let laughs: String =
        (1..30).map(|n| format!("a{n}: &a{n} [*a{0},*a{0},*a{0},*a{0},*a{0},*a{0}]\n", n - 1)).collect();
    let anchors: String = (0..60).map(|n| format!("&a{n} [")).collect();
    vec![
        ("nothing", Vec::new()),
        ("a page of zeros", vec![0; 4096]),
        ("bytes of no encoding", b"\xff\xfe\x00\x01".repeat(1000)),
        ("brackets in brackets", vec![b'['; 200_000]),
        ("braces in braces", vec![b'{'; 200_000]),
        ("lists in lists", b"- ".repeat(100_000)),
        ("an alias of nobody", b"a: *nobody\n".to_vec()),
        ("an alias of itself", b"a: &a [*a]\n".to_vec()),
        ("aliases of aliases", format!("a0: &a0 [x]\n{laughs}").into_bytes()),
        ("anchors in anchors", format!("{anchors}{}{}", "x,".repeat(20_000), "]".repeat(60)).into_bytes()),
        ("very many values", [b"[".as_slice(), &b"{a: 1},".repeat(100_000), b"]"].concat()),
        ("blocks without an end", b"-----BEGIN CERTIFICATE-----\n".repeat(10_000)),
        ("half a beginning", b"-----BEGIN ".to_vec()),
        ("a label of other letters", "-----BEGIN ÄÖÜ-----\n".into()),
        ("DER of no length", der(&[0x30, 0x80, 0x30, 0x80, 0, 0, 0, 0])),
        ("4 GiB of DER", der(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff])),
        ("sequences in sequences", der(&[0x30, 0x80].repeat(50_000))),
        ("sequences that end too early", der(&[0x30, 0x03, 0x30, 0x01, 0x30].repeat(10_000))),
    ]
}

fn bit(content: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes[random.below(content.len())] ^= 1 << random.below(8);
    bytes
}

fn cut(content: &[u8], random: &mut Random) -> Vec<u8> {
    content[..random.below(content.len())].to_vec()
}

fn lost(content: &[u8], random: &mut Random) -> Vec<u8> {
    let (start, end) = random.piece(content);
    [&content[..start], &content[end..]].concat()
}

fn doubled(content: &[u8], random: &mut Random) -> Vec<u8> {
    let (start, end) = random.piece(content);
    [&content[..end], &content[start..]].concat()
}

fn noise(content: &[u8], random: &mut Random) -> Vec<u8> {
    let (at, noise) = (random.below(content.len()), random.bytes(64));
    [&content[..at], &noise, &content[at..]].concat()
}

fn only_noise(_: &[u8], random: &mut Random) -> Vec<u8> {
    random.bytes(2048)
}

fn long(content: &[u8], random: &mut Random) -> Vec<u8> {
    let at = random.below(content.len());
    let length = random.one_of(&[[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], [0x04, 0x84, 0x7f, 0xff, 0xff, 0xff]]);
    [&content[..at], &length, &content[at..]].concat()
}

fn label(content: &[u8], random: &mut Random) -> Vec<u8> {
    let text = String::from_utf8_lossy(content);
    let there: Vec<_> = LABELS.into_iter().filter(|(word, _)| text.contains(word)).collect();
    if there.is_empty() {
        return bit(content, random);
    }
    let (word, other) = random.one_of(&there);
    text.replacen(word, other, 1 + random.below(2)).into_bytes()
}

/// Most bytes of such a file are base64.
fn base64(content: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes[random.below(content.len())] = random.one_of(b"=*-_ \n\r\0\xff");
    bytes
}

/// Broken armour would hide what is in it, so that is broken too: DER in PEM, and both in the base64 of a kubeconfig.
fn inside(content: &[u8], random: &mut Random) -> Vec<u8> {
    held(content, random).unwrap_or_else(|| {
        let (_, damage) = random.one_of(&BYTES);
        damage(content, random)
    })
}

/// `None` for what holds no base64.
fn held(content: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(content).ok()?;
    let fields: Vec<usize> = text.match_indices("-data: ").map(|(at, field)| at + field.len()).collect();
    let (start, end) = if fields.is_empty() {
        let start = text.find("-----\n")? + "-----\n".len();
        (start, start + text[start..].find("-----END")?)
    } else {
        let start = random.one_of(&fields);
        (start, start + text[start..].find('\n')?)
    };
    let bytes = STANDARD.decode(text[start..end].replace('\n', "")).ok().filter(|bytes| !bytes.is_empty())?;
    Some(format!("{}{}\n{}", &text[..start], STANDARD.encode(inside(&bytes, random)), &text[end..]).into_bytes())
}

fn line(content: &[u8], random: &mut Random) -> Vec<u8> {
    let text = String::from_utf8_lossy(content);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (at, value) = (random.below(lines.len()), random.one_of(&VALUES));
    let line = lines[at].clone();
    lines[at] = match random.below(6) {
        0 => format!("\t{line}"),
        1 => format!("   {}", line.trim_start()),
        2 => line.replacen(':', "", 1),
        3 => format!("{line}\n{line}"),
        4 => format!("{line} {value}"),
        _ => format!("{}: {value}", line.split(':').next().unwrap_or_default()),
    };
    lines.join("\n").into_bytes()
}
