"""Short stories for the embedded model: draws a cast, chooses a plot, and fills in its beats (story steps).

Plain Python over a seeded `random.Random`, without chats, tokens or torch. `embedded_data.py` asks for stories, and
wraps them into dialogues.
"""


import random
from dataclasses import dataclass

GIRLS = ("Mia Anna Lily Emma Sara Zoe Ella Nora Lucy Ruby Ida Maya Clara Rosa Eva Lena Tilda Amy Jane Kate Mary Molly "
         "Sophie Alice Grace Hana Nina Olga Polly Daisy Ivy Julia Laura Maria Bella Luna Stella Rose Sue Wendy").split()
BOYS = ("Tom Ben Max Leo Sam Tim Finn Jack Noah Paul Otto Hugo Carl Emil Adam Luke Oscar Peter Felix Anton "
        "Bob Dan Eric Fred George Harry Ivan John Ken Liam Mark Nick Omar Ravi Simon Theo Will Alex Jim Toby Rex "
        "Charlie").split()
ANIMALS = ("fox bear cat dog rabbit mouse owl frog duck bird hedgehog squirrel turtle horse pig sheep cow goat "
           "lion tiger elephant monkey penguin whale fish bee ant butterfly snail wolf deer otter beaver badger crab "
           "parrot swan kitten puppy dragon unicorn dinosaur giraffe zebra camel seal spider hen goose lamb donkey "
           "koala panda").split()
THINGS = ("robot train boat star cloud tree toy snowman balloon kite teapot lamp clock flower car moon leaf "
          "bicycle lighthouse pencil").split()
PEOPLE = ("king queen prince princess farmer wizard witch knight pirate baker sailor teacher gardener giant fairy "
          "painter doctor shepherd fisherman grandmother grandfather cook astronaut detective child scientist").split()
SHE = {"queen", "princess", "witch", "fairy", "grandmother", "hen", "cow"}
HE = {"king", "prince", "wizard", "grandfather"}
SIZES = ("little", "small", "young", "old", "brave", "kind", "clever", "shy", "happy", "curious", "tiny", "lonely",
         "friendly", "quiet", "sleepy", "hungry", "sad", "big", "lazy", "funny")
TRAITS = ("kind", "brave", "curious", "clever", "friendly", "cheerful", "gentle", "patient", "playful", "careful",
          "quiet",
          "funny", "polite", "busy", "helpful")
PLACES = (("in", "the forest"), ("by", "the sea"), ("near", "the river"), ("on", "the farm"), ("in", "the village"),
          ("in", "the garden"), ("by", "the lake"), ("in", "the mountains"), ("in", "the town"), ("on", "the hill"),
          ("in", "the valley"), ("on", "the island"), ("in", "the city"), ("near", "the castle"), ("in", "the meadow"),
          ("near", "the bridge"), ("in", "the park"), ("near", "the beach"), ("in", "the desert"), ("in", "the snow"))
OBJECTS = ("ball", "key", "hat", "book", "spoon", "ring", "lantern", "scarf", "bell", "box", "drum", "map", "basket",
           "shell",
           "flute", "coat", "feather", "blanket", "cup", "boot", "stone", "picture", "whistle", "coin", "letter")
COLORS = ("red", "blue", "green", "yellow", "golden", "silver", "white", "shiny", "magic", "tiny", "old", "warm",
          "beautiful",
          "round", "orange")
FOODS = ("apples", "cakes", "berries", "pancakes", "cookies", "nuts", "pears", "carrots", "cherries", "plums")
HOBBIES = ("sing", "dance", "play in the sun", "swim", "look at the stars", "read books", "tell jokes", "pick flowers",
           "paint pictures", "run in the grass", "watch the clouds", "listen to the rain", "make music",
           "collect stones",
           "explore new places")
TIMES = ("One day", "One morning", "One sunny day", "One cold morning", "One evening", "One rainy day", "One windy day",
         "Early one morning", "One quiet afternoon", "One summer day", "One autumn day", "One winter day")

OPENINGS = (
    "Once upon a time, there was {intro} who lived {at_place}.", "Once upon a time, {intro} lived {at_place}.",
    "Once there was {intro} who lived in a little house {at_place}.", "Long ago, {intro} lived {at_place}.",
    "There once was {intro} who had a small home {at_place}.", "{Intro} lived {at_place}.",
    "Far away, {at_place}, there lived {intro}.", "Once upon a time there was {intro}. {He} lived {at_place}.",
    "In a small house {at_place} lived {intro}.", "A long time ago, there was {intro} {at_place}.",
)
ABOUT = (
    "{Hero} was very {trait}.", "{He} loved to {hobby}.", "{Hero} was {trait} and {trait2}, and everyone liked {him}.",
    "Every day, {he} liked to {hobby}.", "{Hero} liked to {hobby} more than anything else.",
    "Everyone knew that {hero} was {trait}.", "{He} was {trait}, but {he} had no friends yet.",
    "{Hero} had a dream. {He} wanted to see the world.",
)
ENDINGS = (
    "From that day on, they were best friends.", "That night, {hero} slept very well.",
    "{Hero} smiled all the way home.",
    "It was the best day of the year.", "{Hero} never forgot that day.", "And they all lived happily ever after.",
    "{Hero} could not wait to tell everyone about it.", "From then on, {hero} was never lonely again.",
    "{Hero} and {friend} still laugh about it today.", "In the end, everyone was happy.",
)

# A plot is a list of beats told in order; each beat is one of its variants, and may be empty.
PLOTS = (
    (   # something is lost and found
        ("{time}, {hero} lost {his} {color} {thing}.", "{time}, {hero} could not find {his} {color} {thing}.",
         "{Hero} had {a_thing}, but {time_lower} it was gone."),
        ("{He} looked under the bed and behind the door, but it was not there.",
         "{He} looked everywhere and became very sad.",
         "{He} searched all day, but {he} did not find it.", "\"Where is my {thing}?\" asked {hero}."),
        ("Then {he} met {a_friend}.", "Just then, {a_friend} came by.", "On the way, {he} saw {a_friend}."),
        ("\"Do not be sad,\" said {friend}. \"I will help you look.\"", "\"Let us look together,\" said {friend}.",
         "{Friend} asked why {he} was so sad, and {hero} told the whole story."),
        ("Together they found the {thing} under a big tree.", "At last, they saw the {thing} behind a rock.",
         "Soon {friend} found the {thing} near the water.", "After a long walk, they found the {thing} in the grass."),
        ("\"Thank you so much!\" said {hero}.", "{Hero} was so happy that {he} began to dance.",
         "{Hero} gave {friend} a big hug."),
    ),
    (   # a new friend
        ("{time}, {hero} met {a_friend} {at_place2}.", "{time}, {a_friend} came to visit.",
         "{time}, {hero} went for a walk and saw {a_friend}."),
        ("{Friend} was sitting alone and looked sad.", "{Friend} was new there and knew nobody.",
         "At first, they were both very shy."),
        ("\"Hello,\" said {hero}. \"Do you want to play with me?\"", "\"What is your favorite game?\" asked {hero}.",
         "\"Would you like some {food}?\" asked {hero}."),
        ("\"Yes, please!\" said {friend}.", "{Friend} smiled and nodded.",
         "\"That is very kind of you,\" said {friend}."),
        ("They played until the sun went down.", "They shared some {food} and talked for hours.",
         "They ran through the grass and laughed.", "They played with {a_thing} all day long."),
    ),
    (   # a storm
        ("{time}, dark clouds came over {place}.", "{time}, a big storm began.", "{time}, the wind blew very hard."),
        ("The rain fell and the thunder was loud.", "The trees shook, and {hero} was afraid.",
         "{Hero} ran home as fast as {he} could."),
        ("Then {he} heard somebody cry for help.", "Suddenly, there was a knock at the door.",
         "Outside, somebody stood in the rain."),
        ("It was {friend_again}, cold and wet.", "There was {friend_again}, and {friend_he} had no place to sleep."),
        ("\"Come in and get warm,\" said {hero}.", "{Hero} was scared, but {he} opened the door at once.",
         "{Hero} gave {friend_him} a warm blanket."),
        ("They drank hot tea and waited for the sun.", "They told each other stories until the storm was over.",
         "In the morning, the sky was blue again.", "Soon the rain stopped, and they saw a rainbow."),
    ),
    (   # learning something hard
        ("{Hero} wanted to learn to {skill}, but it was very hard.", "{time}, {hero} tried to {skill}.",
         "More than anything, {hero} wanted to {skill}."),
        ("{He} tried and tried, but {he} could not do it.", "The first time, {he} fell down and hurt {his} nose.",
         "\"I will never learn it,\" said {hero}."),
        ("{A_friend} watched {him} and smiled.", "{He} asked {a_friend} for help.",
         "Then {a_friend} sat down next to {him}."),
        ("\"You must be patient,\" said {friend}.", "\"Try again, a little slower,\" said {friend}.",
         "\"I can show you how,\" said {friend}."),
        ("So {hero} tried again every day.", "They worked on it together, day after day.",
         "{Hero} took a deep breath and tried once more."),
        ("At last, {he} could {skill}!", "And one day, {he} could {skill} better than anyone.",
         "Suddenly it worked, and {he} could {skill}!"),
        ("\"I did it!\" {he} shouted.", "{Friend} was very proud of {him}.", ""),
    ),
    (   # sharing
        ("{time}, {hero} found a basket full of {food}.", "{time}, {hero} had a plate full of {food}.",
         "{time}, {hero} picked some sweet {food}."),
        ("{He} wanted to eat them all alone.", "There were so many that {he} could not carry them.",
         "They smelled so good that {he} was very hungry."),
        ("Then {a_friend} came along.", "On the way home, {he} met {a_friend}.",
         "{A_friend} saw the {food} and came closer."),
        ("\"I have not eaten all day,\" said {friend}.", "\"Those {food} look good,\" said {friend} quietly.",
         "{Friend} looked very hungry."),
        ("{Hero} thought about it for a moment.", "{Hero} looked at the {food} and then at {friend}.", ""),
        ("\"Let us share them,\" said {hero}.", "Then {he} gave {friend} half of the {food}.",
         "\"There is enough for both of us,\" said {hero}."),
        ("The {food} tasted even better together.", "They sat in the sun and ate until they were full.",
         "{Hero} learned that it is good to share."),
    ),
    (   # a treasure
        ("{time}, {hero} found an old map.", "{time}, {hero} saw something shine in the grass. It was {a_thing}.",
         "{time}, {hero} heard about a treasure {at_place2}."),
        ("\"I must find out what this means,\" said {hero}.", "{He} packed some {food} and left at once.",
         "{His} heart beat fast."),
        ("{He} walked over hills and through dark woods.", "The way was long, and {he} was soon tired.",
         "{He} crossed a river and climbed a tall rock."),
        ("There {he} met {a_friend}, who knew the way.", "{A_friend} was sitting on a stone and showed {him} the way.",
         "Near the end of the path, {he} met {a_friend}, and they went on together."),
        ("Behind a small door, they found a box.", "At the end of the path, they saw a deep cave.",
         "They dug under an old tree and found a box."),
        ("It was full of {color} stones.",
         "Inside, there was only a letter. It said: \"The real treasure is a good friend.\"",
         "Inside, they found a golden crown.", "It was full of {food}, and they laughed and laughed."),
    ),
    (   # lost on the way
        ("{time}, {hero} walked too far and lost {his} way.", "{time}, {hero} followed a butterfly and got lost.",
         "{time}, {hero} wanted to visit {his} aunt, but {he} took the wrong path."),
        ("It was getting dark, and {he} was afraid.", "All the trees looked the same.",
         "{He} sat down and began to cry."),
        ("\"Who is there?\" asked a soft voice.", "Suddenly, there was a small light.", "Then {he} heard a song."),
        ("It was {a_friend}.", "It was {a_friend} with a lantern.",
         "It was {a_friend}, and {friend_he} smiled at {him}."),
        ("\"I know the way,\" said {friend}. \"Follow me.\"",
         "\"Do not be afraid,\" said {friend}. \"I will take you home.\"",
         "\"You can stay with me tonight,\" said {friend}."),
        ("They walked together under the moon.", "Soon {he} could see the lights of home.",
         "On the way, they talked and sang."),
        ("{Hero} thanked {friend} and promised to visit soon.", "At home, there was warm soup for both of them.", ""),
    ),
    (   # a party
        ("{time}, it was the birthday of {hero}.", "{time}, {hero} wanted to give a party.",
         "It was almost the birthday of {hero}."),
        ("But nobody seemed to remember it.", "{He} put {food} and flowers on the table.",
         "{He} waited at the door all morning."),
        ("\"Will anybody come?\" {he} asked.", "Nobody came, and {he} was sad.", "The house was very quiet."),
        ("Then the door opened, and there was {a_friend}.", "Then {a_friend} knocked at the door.",
         "At last, {he} saw {a_friend} on the path."),
        ("\"Surprise!\" said {friend}.", "\"I brought you {a_thing},\" said {friend}.",
         "\"I would never forget you,\" said {friend}."),
        ("Soon all the neighbors came too.", "They ate {food} and danced until midnight.",
         "They played games and sang songs."),
    ),
    (   # helping the hurt
        ("{time}, {hero} heard a sad sound {at_place2}.", "{time}, {hero} saw {a_friend} on the ground."),
        ("{Friend_again_cap} had hurt {friend_his} leg.", "{Friend_again_cap} could not walk anymore."),
        ("\"Please help me,\" said {friend}.", "\"What happened?\" asked {hero}.", "\"Do not worry,\" said {hero}."),
        ("{Hero} brought some water and a soft blanket.", "{Hero} carried {friend_him} home very carefully.",
         "{Hero} stayed there all night."),
        ("Every day, {friend} felt a little better.", "After a week, {friend} could walk again.",
         "Soon {friend} was strong and happy again."),
        ("\"You saved me,\" said {friend}.", "To say thank you, {friend} gave {him} {a_thing}.",
         "{Friend} promised to come back every spring."),
    ),
    (   # a wish
        ("{time}, {hero} found {a_thing} {at_place2}.", "{time}, {a_friend} gave {hero} {a_thing}."),
        ("\"This {thing} is magic,\" said a tiny voice. \"You have one wish.\"",
         "When {he} touched the {thing}, it began to glow."),
        ("{Hero} thought for a long time.", "{He} could wish for gold or for a castle.",
         "\"What should I wish for?\" {he} asked."),
        ("Then {he} thought of {friend_again}, who was always alone.",
         "Then {he} remembered {friend_again}, who was very ill."),
        ("\"I wish that my friend is happy,\" {he} said.", "So {he} used the wish for {friend}."),
        ("There was a bright light, and {friend} began to laugh.",
         "The next morning, {friend} came running and was full of joy."),
        ("The magic was gone, but {hero} did not mind.", "{Hero} felt warm inside.", ""),
    ),
    (   # building something
        ("{time}, {hero} had an idea. {He} wanted to build {building}.", "{time}, {hero} began to build {building}.",
         "{Hero} wanted to build {building}."),
        ("{He} looked for wood and rope.", "It was hard work, and {he} needed help.",
         "But every night, the wind broke it again."),
        ("{A_friend} saw it and laughed at first.", "{He} asked {a_friend} to help.",
         "Then {a_friend} came with a hammer."),
        ("\"Two can do more than one,\" said {friend}.", "\"What are you doing?\" asked {friend}.",
         "\"I have a better plan,\" said {friend}."),
        ("They worked from morning until night.", "They made a plan and worked together.",
         "{Hero} held the wood, and {friend} did the rest."),
        ("At last, {building_the} was ready.", "After three days, {building_the} was finished.",
         "It was the finest one in the whole land."),
        ("They painted it {paint} and were very proud.", "Everybody came to see it.", ""),
    ),
    (   # a race
        ("{time}, there was a big race {at_place2}.", "{time}, {a_friend} wanted to race with {hero}."),
        ("\"I am the fastest of all,\" said {friend_again}.", "Everyone thought that {friend_again} would win."),
        ("{Hero} was nervous, but {he} ran as fast as {he} could.", "{Hero} was slow, but {he} never stopped.",
         "The race was long, and the sun was hot."),
        ("Then {friend} fell over a stone.", "Near the end, {friend} fell into the mud."),
        ("{Hero} stopped and helped {friend_him} up.", "{Hero} could have won, but {he} went back to help.",
         "\"Are you hurt?\" asked {hero}."),
        ("They crossed the line together.", "They came in last, but nobody cared.",
         "In the end, they both won a prize."),
        ("\"You are a true friend,\" said {friend}.", "Everyone cheered for them.", ""),
    ),
)
# What a user may call a plot, by its place in PLOTS.
TOPICS = (("losing something", 0), ("something that is lost", 0), ("friendship", 1), ("a new friend", 1),
          ("friends", 1), ("a storm", 2),
          ("the rain", 2), ("bad weather", 2), ("learning", 3), ("not giving up", 3), ("being patient", 3),
          ("sharing", 4), ("food", 4),
          ("a treasure", 5), ("an adventure", 5), ("a long journey", 5), ("getting lost", 6), ("being afraid", 6),
          ("the night", 6),
          ("a birthday", 7), ("a party", 7), ("helping", 8), ("kindness", 8), ("love", 8), ("magic", 9), ("a wish", 9),
          ("a miracle", 9),
          ("building something", 10), ("hard work", 10), ("a plan", 10), ("a race", 11), ("sports", 11),
          ("winning", 11))
SKILLS = ("swim", "ride a bicycle", "sing", "dance", "climb trees", "play the flute", "read", "bake bread", "paint",
          "whistle",
          "skate", "write poems")
BUILDINGS = ("a boat", "a tree house", "a bridge", "a small house", "a swing", "a raft", "a tower", "a boat with wings")
SYLLABLES = ("ba be bo da di do fa fi ga go ka ki ko la le li lo lu ma mi mo na ni no pa pi po ra re ri ro sa si so ta "
             "ti to va vi za zo zu").split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hero:
    """Who a story is about: `intro` ("a little fox named Tom") at first, then `again` ("Tom" or "the fox")."""

    intro: str
    again: str
    female: bool


def article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return ("an " if noun[0] in "aeiou" and not noun.startswith(("uni", "one")) else "a ") + noun


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def invented_word(rng: random.Random) -> str:
    """A word that no list holds, so that the model learns to copy what it has not seen."""
    word = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3)))
    return word + rng.choice(("", "", "n", "r", "k", "x", "m", "l", "sh"))


def draw_name(rng: random.Random, invented: float) -> tuple[str, bool]:
    """A name and whether it is a girl's; of the invented ones (that share) those that end in a or i are."""
    female = rng.random() < 0.5
    if rng.random() >= invented:
        return rng.choice(GIRLS if female else BOYS), female
    name = capital(invented_word(rng))
    return name, name[-1] in "ai"


def make_hero(rng: random.Random, *, plain: bool = False, invented: float = 0.0) -> Hero:
    """A person with a name, an animal or a thing; `plain` leaves names out, `invented` is the share of made-up "
    "words."""
    draw = rng.random()
    if draw < 0.3 and not plain:
        return make_person(rng, invented)
    kind = (rng.choice(THINGS) if draw < 0.4 else rng.choice(PEOPLE) if draw < 0.55 else rng.choice(ANIMALS))
    if rng.random() < invented:
        kind = invented_word(rng)
    female = kind in SHE or (kind not in HE and rng.random() < 0.5)
    phrase = f"{rng.choice(SIZES)} {kind}" if rng.random() < (0.25 if plain else 0.5) else kind
    if plain or rng.random() < 0.6:
        return Hero(intro=article(phrase), again=f"the {kind}", female=female)
    name = rng.choice(GIRLS if female else BOYS)
    if rng.random() < invented:
        name = capital(invented_word(rng))
    return Hero(intro=f"{article(phrase)} named {name}", again=name, female=female)


def make_person(rng: random.Random, invented: float) -> Hero:
    """A girl, boy, woman or man with a name."""
    name, female = draw_name(rng, invented)
    young = rng.choice(("girl", "girl", "woman") if female else ("boy", "boy", "man"))
    adjective = rng.choice(SIZES) if rng.random() < 0.3 else ""
    return Hero(intro=f"{article(f'{adjective} {young}'.strip())} named {name}", again=name, female=female)


def make_friend(rng: random.Random, hero: Hero) -> Hero:
    """Somebody whom the hero meets, never called like the hero."""
    while True:
        friend = make_hero(rng, plain=rng.random() < 0.7)
        if friend.again != hero.again:
            return friend


def _pronouns(hero: Hero) -> dict[str, str]:
    he, him, his = ("she", "her", "her") if hero.female else ("he", "him", "his")
    return {"he": he, "him": him, "his": his}


def _slots(
    rng: random.Random, hero: Hero, friend: Hero, place: tuple[str, str] | None, thing: str | None
) -> dict[str, str]:
    """The words that fill a story's beats, drawn once so that the story agrees with itself."""
    at, where = place or rng.choice(PLACES)
    at2, where2 = rng.choice([other for other in PLACES if other[1] != where])
    given = thing and " " in thing
    color, noun = thing.rsplit(" ", 1) if given else (rng.choice(COLORS), thing or rng.choice(OBJECTS))
    time, building = rng.choice(TIMES), rng.choice(BUILDINGS)
    slots = {
        "intro": hero.intro, "hero": hero.again, "friend": friend.again, "place": where, "at_place": f"{at} {where}",
        "at_place2": f"{at2} {where2}", "color": color, "thing": noun, "a_thing": article(f"{color} {noun}"),
        "time": time, "time_lower": time[0].lower() + time[1:], "food": rng.choice(FOODS), "hobby": rng.choice(HOBBIES),
        "skill": rng.choice(SKILLS), "building": building, "building_the": f"the {building.split(' ')[1]}",
        "paint": rng.choice(COLORS[:4]),
    } | _pronouns(hero) | {f"friend_{key}": word for key, word in _pronouns(friend).items()}
    slots["building_the"] = building.replace("a ", "the ", 1)
    slots["trait"], slots["trait2"] = rng.sample(TRAITS, 2)
    return slots | {capital(key): capital(word) for key, word in slots.items()}


def make_story(rng: random.Random, hero: Hero, *, friend: Hero | None = None, place: tuple[str, str] | None = None,
               thing: str | None = None, plot: int | None = None) -> str:
    """A story of five to ten sentences about the hero, with the friend, place, thing and plot that were asked for."""
    friend = friend or make_friend(rng, hero)
    slots = _slots(rng, hero, friend, place, thing)
    wanted = "{a_thing}" if thing else None
    beats = [rng.choice(OPENINGS)] + ([rng.choice(ABOUT)] if rng.random() < 0.75 else [])
    plots = [each for each in PLOTS if wanted is None or any(wanted in line for line in each[0])]
    for variants in rng.choice(plots) if plot is None else PLOTS[plot]:
        lines = [line for line in variants if wanted in line] if wanted and variants[0].startswith("{time}") else []
        beats.append(rng.choice(lines or variants))
    if rng.random() < 0.8:
        beats.append(rng.choice(ENDINGS))
    met, told = False, []
    for beat in filter(None, beats):
        for key, known in (("friend_again", friend.again), ("Friend_again_cap", capital(friend.again))):
            intro = friend.intro if key == "friend_again" else capital(friend.intro)
            beat = beat.replace(f"{{{key}}}", known if met else intro)
        met_now = "{a_friend}" in beat or "{A_friend}" in beat or friend.intro in beat
        beat = beat.replace("{a_friend}", friend.again if met else friend.intro)
        beat = beat.replace("{A_friend}", capital(friend.again if met else friend.intro))
        met = met or met_now
        told.append(beat.format_map(slots))
    return " ".join(told)
