//! The README's pictures of the demo. They are taken in every run, and kept in docs/screenshots when
//! CLOAKROOM_SCREENSHOTS is set.

use std::io::Cursor;
use std::path::Path;

use crate::support::browser::Demo;
use crate::support::chromium::Chromium;

/// What a page may cost a reader of the README.
const MOST_BYTES: usize = 150_000;

#[test]
fn the_pictures_of_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start_in(folder.path());
    let chromium = Chromium::start();
    chromium.look(1120, 800, "light");
    chromium.go(&demo.address);
    for (key, value) in [("scarf", "red"), ("hats", "[\"bowler\", \"beret\"]")] {
        chromium.fill("#key", key);
        chromium.fill("#value", value);
        chromium.click(".put button");
        chromium.wait_until_says("#pockets", key);
    }
    chromium.click("form[action='/login'] button");
    chromium.wait_until_says("#door", "Ada is logged in");
    chromium.go(&demo.address);
    take(&chromium, "demo");

    for user_agent in [
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/604.1",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ] {
        demo.browser().post("/login", &[], &[("User-Agent", user_agent)]);
    }
    chromium.look(1120, 520, "light");
    chromium.go(&format!("{}/devices", demo.address));
    take(&chromium, "demo-devices");

    chromium.go(&format!("{}/race", demo.address));
    chromium.click("#send:enabled");
    chromium.wait_until_says("#result", "Sent");
    chromium.look(1120, 620, "light");
    take(&chromium, "demo-race");

    chromium.look(390, 780, "dark");
    chromium.go(&demo.address);
    take(&chromium, "demo-phone-dark");
}

fn take(chromium: &Chromium, name: &str) {
    let picture = smaller(&chromium.picture());
    assert!(picture.len() < MOST_BYTES, "{name}: {} bytes", picture.len());
    if std::env::var_os("CLOAKROOM_SCREENSHOTS").is_some() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }
}

/// The same picture without PNG's filters, which do photographs good and text none.
fn smaller(png: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let information = reader.next_frame(&mut pixels).unwrap();
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, information.width, information.height);
    encoder.set_color(information.color_type);
    encoder.set_depth(information.bit_depth);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.set_deflate_compression(png::DeflateCompression::Level(9));
    encoder.write_header().unwrap().write_image_data(&pixels[..information.buffer_size()]).unwrap();
    out
}
