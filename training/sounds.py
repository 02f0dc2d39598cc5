"""The sounds of every word, one sign a sound: a dense target that teaches training what words are made of.

American English as misaki writes it: A I O W Y are the diphthongs of day, my, go, now and boy.
"""

from . import vocab

PRONOUNCED = dict(
    entry.split(":") for entry in """
    zero:zɪɹO one:wʌn two:tu three:θɹi four:fɔɹ five:fIv six:sɪks seven:sɛvən eight:At nine:nIn ten:tɛn eleven:əlɛvn
    twelve:twɛlv thirteen:θɜɹtin fourteen:fɔɹtin fifteen:fɪftin sixteen:sɪkstin seventeen:sɛvəntin eighteen:Atin
    nineteen:nIntin twenty:twɛnti thirty:θɜɹti forty:fɔɹti fifty:fɪfti sixty:sɪksti seventy:sɛvənti eighty:Ati
    ninety:nIndi hundred:hʌndɹəd thousand:θWznd million:mɪljn oh:O point:pYnt and:ænd percent:pəɹsɛnt first:fɜɹst
    second:sɛkənd third:θɜɹd fourth:fɔɹθ fifth:fɪfθ sixth:sɪksθ seventh:sɛvənθ eighth:Aθ ninth:nInθ tenth:tɛnθ
    eleventh:əlɛvənθ twelfth:twɛlfθ thirteenth:θɜɹtinθ fourteenth:fɔɹtinθ fifteenth:fɪftinθ sixteenth:sɪkstinθ
    seventeenth:sɛvəntinθ eighteenth:Attinθ nineteenth:nIntinθ twentieth:twɛntiəθ thirtieth:θɜɹtiəθ
    january:ʤænjəwɛɹi february:fɛbjəwɛɹi march:mɑɹʧ april:Apɹəl may:mA june:ʤun july:ʤəlI august:ɔɡʌst
    september:sɛptɛmbəɹ october:ɑktObəɹ november:nOvɛmbəɹ december:disɛmbəɹ monday:mʌndA tuesday:tuzdA
    wednesday:wɛnzdA thursday:θɜɹzdA friday:fɹIdA saturday:sætəɹdA sunday:sʌndA o'clock:əklɑk am:Aɛm pm:piɛm
    half:hæf past:pæst quarter:kwɔɹtəɹ noon:nun midnight:mɪdnIt seconds:sɛkəndz minute:mɪnət minutes:mɪnəts hour:Wəɹ
    hours:Wəɹz degrees:dəɡɹiz today:tədA tomorrow:təmɑɹO yesterday:jɛstəɹdA tonight:tənIt morning:mɔɹnɪŋ
    afternoon:æftəɹnun evening:ivnɪŋ turn:tɜɹn switch:swɪʧ play:plA pause:pɔz stop:stɑp start:stɑɹt open:Opn
    close:klOz set:sɛt call:kɔl cancel:kænsl repeat:ɹəpit skip:skɪp mute:mjut lock:lɑk unlock:ʌnlɑk on:ɔn off:ɔf
    up:ʌp down:dWn left:lɛft right:ɹIt next:nɛkst previous:pɹiviəs back:bæk kitchen:kɪʧn bedroom:bɛdɹum
    bathroom:bæθɹum garage:ɡəɹɑʒ garden:ɡɑɹdən office:ɔfəs lights:lIts heating:hitɪŋ door:dɔɹ window:wɪndO
    volume:vɑljum music:mjuzɪk song:sɔŋ radio:ɹAdiO timer:tIməɹ alarm:əlɑɹm temperature:tɛmpɹəʧəɹ weather:wɛðəɹ
    message:mɛsɪʤ please:pliz yes:jɛs no:nO hello:həlO goodbye:ɡʊdbI okay:OkA thanks:θæŋks help:hɛlp the:ðə to:tu
    for:fɔɹ in:ɪn at:æt of:ʌv w:dʌblju x:ɛks
    """.split()
)
SOUNDS = sorted({sound for word in vocab.WORDS for sound in PRONOUNCED[word]})


def of(word: str) -> list[int]:
    """Indices into SOUNDS of a word's sounds, in order."""
    return [SOUNDS.index(sound) for sound in PRONOUNCED[word]]
