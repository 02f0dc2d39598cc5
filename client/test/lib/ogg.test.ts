import { expect, test } from "vitest";
import { OggOpusMuxer, opusHead } from "../../src/lib/moshi/ogg";

interface Page {
  flags: number;
  granule: bigint;
  serial: number;
  sequence: number;
  packets: Uint8Array[];
}

/** Reads pages as RFC 3533 has them, and checks each checksum bit by bit. */
function readPages(bytes: Uint8Array): Page[] {
  const pages: Page[] = [];
  let at = 0;
  while (at < bytes.length) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at);
    expect(new TextDecoder().decode(bytes.slice(at, at + 4))).toBe("OggS");
    const segments = view.getUint8(26);
    const lacing = [...bytes.slice(at + 27, at + 27 + segments)];
    const size = 27 + segments + lacing.reduce((a, b) => a + b, 0);
    const page = bytes.slice(at, at + size);
    const checksum = view.getUint32(22, true);
    page.fill(0, 22, 26);
    expect(bitwiseCrc(page)).toBe(checksum);
    const packets: Uint8Array[] = [];
    let body = 27 + segments;
    let length = 0;
    for (const lace of lacing) {
      length += lace;
      if (lace < 255) {
        packets.push(page.slice(body, body + length));
        body += length;
        length = 0;
      }
    }
    pages.push({ flags: page[5]!, granule: view.getBigUint64(6, true), serial: view.getUint32(14, true), sequence: view.getUint32(18, true), packets });
    at += size;
  }
  return pages;
}

function bitwiseCrc(bytes: Uint8Array): number {
  let crc = 0n;
  for (const byte of bytes) {
    crc ^= BigInt(byte) << 24n;
    for (let bit = 0; bit < 8; bit++) {
      crc = crc & 0x80000000n ? ((crc << 1n) ^ 0x04c11db7n) & 0xffffffffn : (crc << 1n) & 0xffffffffn;
    }
  }
  return Number(crc);
}

test("headers are two pages: identification, then tags", () => {
  const [head, tags, ...rest] = readPages(new OggOpusMuxer(42).headers(opusHead(312, 24_000)));
  expect(rest).toEqual([]);
  expect(head).toMatchObject({ flags: 2, granule: 0n, serial: 42, sequence: 0 });
  expect([...head!.packets[0]!]).toEqual([
    ...new TextEncoder().encode("OpusHead"), 1, 1, 312 & 255, 312 >> 8, 24_000 & 255, 24_000 >> 8, 0, 0, 0, 0, 0,
  ]);
  expect(tags).toMatchObject({ flags: 0, sequence: 1 });
  expect(new TextDecoder().decode(tags!.packets[0]!.slice(0, 8))).toBe("OpusTags");
});

test("audio pages count samples at 48 kHz and keep packets whole", () => {
  const muxer = new OggOpusMuxer(1);
  muxer.headers(opusHead(312, 24_000));
  const packets = [0, 1, 254, 255, 256, 510, 700].map((size) => new Uint8Array(size).fill(size & 255));
  const [page] = readPages(muxer.page(packets, packets.length * 960));
  expect(page!.packets).toEqual(packets);
  expect(page).toMatchObject({ flags: 0, sequence: 2, granule: 6720n });
  const [last] = readPages(muxer.page([Uint8Array.of(9)], 960, true));
  expect(last).toMatchObject({ flags: 4, sequence: 3, granule: 7680n });
});

test("refuses more packets than one page's table can tell", () => {
  const packets = Array.from({ length: 256 }, () => Uint8Array.of(1));
  expect(() => new OggOpusMuxer(1).page(packets, 1)).toThrow(RangeError);
});
