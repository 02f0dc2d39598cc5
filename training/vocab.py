"""The command vocabulary: every word the demo checkpoint can write, by topic.

The order of `WORDS` is the order of the tokenizer's pieces, so appending is safe and reordering is not.
"""

SMALL = "zero one two three four five six seven eight nine ten".split()
TEENS = "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = "hundred thousand million".split()
NUMBER_EXTRAS = "oh point and percent".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth"
).split()
MONTHS = (
    "january february march april may june july august september october november december"
).split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
CLOCK = "o'clock am pm half past quarter noon midnight".split()
UNITS = "second seconds minute minutes hour hours degrees".split()
WHEN = "today tomorrow yesterday tonight morning afternoon evening".split()
VERBS = (
    "turn switch play pause stop start open close set call cancel repeat skip mute lock unlock"
).split()
DIRECTIONS = "on off up down left right next previous back".split()
ROOMS = "kitchen bedroom bathroom garage garden office".split()
THINGS = (
    "lights heating door window volume music song radio timer alarm temperature "
    "weather message"
).split()
TALK = "please yes no hello goodbye okay thanks help".split()
GLUE = "the to for in at of".split()
LETTERS = "w x".split()

# Words that only a phrase can tell from others ("to" and "two") or that nobody says alone.
BOUND = GLUE + ["and"]

WORDS = list(
    dict.fromkeys(
        SMALL + TEENS + TENS + SCALES + NUMBER_EXTRAS + ORDINALS + MONTHS + DAYS + CLOCK + UNITS
        + WHEN + VERBS + DIRECTIONS + ROOMS + THINGS + TALK + GLUE + LETTERS
    )
)

FREE = [word for word in WORDS if word not in BOUND]

# What a synthesiser should be asked to read where the plain spelling would be misread.
SPOKEN = {"am": "A M", "pm": "P M", "w": "W", "x": "X"}
# How many words a front end makes of the spoken form (for engines that report word by word).
SPOKEN_PARTS = {word: len(text.split()) for word, text in SPOKEN.items()}


def spoken(word: str) -> str:
    """Text that makes an English synthesiser pronounce `word`."""
    return SPOKEN.get(word, word)
