"""Files that were made to hurt whoever decodes them, as tests/it/crafted has them: small, legal enough to be read, and dear."""

import struct


class Bits:
    """Numbers bit by bit, least significant first, as Vorbis has them."""

    def __init__(self):
        self.value, self.count = 0, 0

    def put(self, value, count):
        self.value |= (value & (1 << count) - 1) << self.count
        self.count += count

    def bytes(self):
        return self.value.to_bytes((self.count + 7) // 8, "little")


def ogg_crc(data):
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def ogg_page(sequence, flags, packet, serial=7, position=0):
    """One page with one packet of less than 65,025 bytes, or with none."""
    lacing = b"" if packet is None else bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    packet = packet or b""
    head = b"OggS" + struct.pack("<BBqIII", 0, flags, position, serial, sequence, 0) + bytes([len(lacing)]) + lacing
    crc = ogg_crc(head + packet)
    return head[:22] + struct.pack("<I", crc) + head[26:] + packet


def vorbis_codebooks(books):
    """Ogg/Vorbis of kilobytes whose codebooks take gigabytes once they are unpacked."""
    identification = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 1, 24000, 0, 0, 0, 8 | 11 << 4, 1)
    comment = b"\x03vorbis" + struct.pack("<I", 1) + b"x" + struct.pack("<I", 0) + b"\x01"
    bits = Bits()
    bits.put(books - 1, 8)
    for _ in range(books):
        # 131,072 entries, ordered, all of length 17; lookup type 1 with one value.
        for value, count in [
            *((0x564342, 24), (31, 16), (131072, 24), (1, 1), (16, 5), (131072, 18)),
            *((1, 4), (0x60000001, 32), (0x60000001, 32), (0, 4), (0, 1), (1, 1)),
        ]:
            bits.put(value, count)
    setup = b"\x05vorbis" + bits.bytes() + bytes(8)
    packets = [identification, comment, setup, bytes(16)]
    return b"".join(ogg_page(i, (2, 0, 0, 4)[i], packet) for i, packet in enumerate(packets))


def flac_tags(blocks):
    """FLAC whose comments are hundreds of thousands of tags of two bytes."""
    tags = 600_000
    comment = struct.pack("<II", 0, tags) + b"\x02\0\0\0a=" * tags
    info = bytes([0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x05, 0xDC, 0x00, 0xF0, 0, 0, 0, 0]) + bytes(16)
    out = b"fLaC\0\0\0\x22" + info
    for block in range(blocks):
        out += bytes([4 | (0x80 if block + 1 == blocks else 0)]) + struct.pack(">I", len(comment))[1:] + comment
    return out


def boxed(kind, body):
    return struct.pack(">I", len(body) + 8) + kind + body


def full(kind, version_and_flags, body):
    return boxed(kind, struct.pack(">I", version_and_flags) + body)


def mp4_empty_samples(runs):
    """A fragmented mp4 whose second track says that billions of samples without a byte follow, `runs` times."""
    tfhd = full(b"tfhd", 0x020018, struct.pack(">III", 2, 1, 0))
    run = full(b"trun", 0, struct.pack(">I", 2**32 - 1))
    fragment = boxed(b"traf", tfhd + full(b"tfdt", 0, bytes(4)) + run * runs)
    moof = boxed(b"moof", full(b"mfhd", 0, struct.pack(">I", 1)) + fragment)
    return boxed(b"ftyp", b"isom\0\0\x02\0isomiso5") + moov() + moof + boxed(b"mdat", bytes(100))


def moov():
    head = full(b"mvhd", 0, bytes(8) + struct.pack(">I", 1000) + bytes(84))
    extends = b"".join(full(b"trex", 0, struct.pack(">II", track, 1) + bytes(12)) for track in (1, 2))
    return boxed(b"moov", head + track(1) + track(2) + boxed(b"mvex", extends))


def track(number):
    """A track of AAC (LC, 24 kHz, mono) without samples of its own."""
    specific = b"\x03\x19\0\x01\0\x04\x11\x40\x15" + bytes(11) + b"\x05\x02\x13\x08\x06\x01\x02"
    entry = bytes(6) + b"\0\1" + bytes(8) + b"\0\1\0\x10" + bytes(4) + struct.pack(">I", 24000 << 16) + full(b"esds", 0, specific)
    table = full(b"stsd", 0, struct.pack(">I", 1) + boxed(b"mp4a", entry))
    empty = [(b"stts", 4), (b"stsc", 4), (b"stsz", 8), (b"stco", 4)]
    table += b"".join(full(kind, 0, bytes(length)) for kind, length in empty)
    references = full(b"dref", 0, struct.pack(">I", 1) + full(b"url ", 1, b""))
    information = boxed(b"minf", full(b"smhd", 0, bytes(4)) + boxed(b"dinf", references) + boxed(b"stbl", table))
    media = full(b"mdhd", 0, bytes(8) + struct.pack(">I", 24000) + b"\0\0\0\0\x55\xc4\0\0")
    handler = full(b"hdlr", 0, bytes(4) + b"soun" + bytes(13))
    place = full(b"tkhd", 3, bytes(8) + struct.pack(">I", number) + bytes(68))
    return boxed(b"trak", place + boxed(b"mdia", media + handler + information))
