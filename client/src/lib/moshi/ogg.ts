/** A mono Opus stream in Ogg pages (RFC 3533, RFC 7845), as `{type:"OggOpus"}` messages carry them. */

const CONTINUES_NOTHING = 0;
const FIRST_PAGE = 2;
const LAST_PAGE = 4;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let r = byte << 24;
  for (let bit = 0; bit < 8; bit++) r = r & 0x8000_0000 ? (r << 1) ^ 0x04c1_1db7 : r << 1;
  return r >>> 0;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = ((crc << 8) ^ CRC_TABLE[((crc >>> 24) ^ byte) & 0xff]!) >>> 0;
  return crc;
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

/** The identification header. `preSkip`: samples at 48 kHz the decoder drops; `inputRate`: Hz before encoding. */
export function opusHead(preSkip: number, inputRate: number): Uint8Array {
  const head = new Uint8Array(19);
  const view = new DataView(head.buffer);
  head.set(ascii("OpusHead"));
  head[8] = 1;
  head[9] = 1;
  view.setUint16(10, preSkip, true);
  view.setUint32(12, inputRate, true);
  return head;
}

function opusTags(vendor: string): Uint8Array {
  const tags = new Uint8Array(8 + 4 + vendor.length + 4);
  tags.set(ascii("OpusTags"));
  new DataView(tags.buffer).setUint32(8, vendor.length, true);
  tags.set(ascii(vendor), 12);
  return tags;
}

export class OggOpusMuxer {
  readonly #serial: number;
  #sequence = 0;
  /** Samples at 48 kHz, the unit of Opus granule positions. */
  #granule = 0;

  constructor(serial: number) {
    this.#serial = serial >>> 0;
  }

  /** The two header pages, which come before any audio. */
  headers(head: Uint8Array): Uint8Array {
    const first = this.#page([head], FIRST_PAGE);
    const second = this.#page([opusTags("moshi-client")], CONTINUES_NOTHING);
    const both = new Uint8Array(first.length + second.length);
    both.set(first);
    both.set(second, first.length);
    return both;
  }

  /** One page of whole packets (at most 255 lacing values, about 5 s of speech). `samples`: their length at 48 kHz. */
  page(packets: Uint8Array[], samples: number, last = false): Uint8Array {
    this.#granule += samples;
    return this.#page(packets, last ? LAST_PAGE : CONTINUES_NOTHING);
  }

  #page(packets: Uint8Array[], flags: number): Uint8Array {
    const lacing = packets.flatMap((p) => [...Array<number>(Math.floor(p.length / 255)).fill(255), p.length % 255]);
    if (lacing.length > 255) throw new RangeError("too many packets for one Ogg page");
    const size = 27 + lacing.length + packets.reduce((n, p) => n + p.length, 0);
    const page = new Uint8Array(size);
    const view = new DataView(page.buffer);
    page.set(ascii("OggS"));
    page[5] = flags;
    view.setBigUint64(6, BigInt(this.#granule), true);
    view.setUint32(14, this.#serial, true);
    view.setUint32(18, this.#sequence++, true);
    page[26] = lacing.length;
    page.set(lacing, 27);
    let at = 27 + lacing.length;
    for (const packet of packets) {
      page.set(packet, at);
      at += packet.length;
    }
    view.setUint32(22, crc32(page), true);
    return page;
  }
}
