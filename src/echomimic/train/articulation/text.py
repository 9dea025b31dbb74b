"""What the synthesisers say: sentences and templates written for this project, in the languages that they speak."""

import random
from collections.abc import Callable


def _split(text: str, mark: str) -> list[str]:
    return [part.strip() for part in text.strip().split(mark)]


ENGLISH = _split(
    """
Good morning everyone, thank you for joining us today.
I really think we should talk about what happened last week.
My brother bought a blue boat and painted it with his friends.
The weather will probably improve by the end of the month.
Could you please pass me that box of paper from the table?
We moved to a small house near the river when I was five.
Nobody knows why the old clock stopped at half past seven.
She always brings warm bread and butter from the village shop.
If you want to learn music, you have to practise every day.
I am not sure, but maybe the meeting has been moved to Monday.
The farmer's dog jumped over the fence and ran into the forest.
Wow, that is an amazing view, I can see the whole valley from here.
Please remember to switch off the lamp before you go to bed.
What do you believe is the most important problem we have to solve?
Her voice was soft, but the room was quiet enough to hear each word.
People often imagine that big changes happen overnight, but they do not.
He put both hands on the wheel and looked out at the open road.
In my opinion, the first version was simpler and much better.
Five yellow buses waited outside the museum for the children.
Thank you very much, it was a pleasure to meet your family.
You will find the keys above the door, beside the purple flower pot.
Our team measured the movement of the lips with a very fast camera.
Why would anybody wash a shirt that has never been worn?
The judge asked the young woman to speak up and look ahead.
I never thought the food would taste this good without any sugar.
Let me show you how the new machine works, step by step.
Those boys play football behind the school on Saturday afternoons.
Oh no, I forgot my umbrella, and now it looks like heavy rain.
It takes about twenty minutes to walk from the bridge to the harbour.
My favourite part of the film was the journey across the frozen lake.
We hope to improve public transport in both of these poor areas.
They laughed, they cooked, they shared stories, and nobody felt tired.
Maybe tomorrow we can visit the market and buy some fresh fish.
Whoever left this bag on the chair should come and pick it up.
The power went off for an hour, so we lit a few small candles.
I want you to look at this picture and tell me what you feel.
A good teacher gives every pupil enough time to find the answer.
The price of apples has gone up by five percent since the summer.
Hello, my name is Paul, and I have been working here for seven years.
So basically, what I mean is that everything depends on the people.
There was a huge, beautiful tree in the middle of the garden.
Before we begin, does anybody have a question about the first topic?
Most birds move south before the winter, but some of them stay.
The old man smiled, opened the window, and waved at the mailman.
I would love to hear more about your work in the hospital.
Change your password often and do not share it with anyone.
On the other hand, we might save both money and time this way.
The baby pulled the puppy by the ear, and the puppy just yawned.
Yesterday evening we saw a bright green light above the hills.
Sometimes it is better to be quiet and to listen with care.
Pam put a bowl of pepper soup in front of me and began to laugh.
My baby brother bumped his elbow on the marble table.
Bob might buy a cheap pump, but I would prefer a proper pipe.
Somebody must have dropped a lamp, because the bulb is broken.
Maybe we ought to stop, breathe, and move on from there.
The committee meets on the fifteenth of November at five past four.
What a wonderful surprise, I never thought I would see you here!
This evening we are looking at how cities keep their water clean.
Good evening, and welcome back to the programme.
You may have noticed that the update is a bit larger than before.
First, open the box, then remove both plastic bags from the bottom.
The shorter way leads through the woods, the longer way over the bridge.
Yes, exactly, that is what I was trying to say all the time.
No, no, no, please do not touch that, the paint is still wet.
We are sorry to tell you that the museum will be closed tomorrow.
Thousands of people walked through the streets without making a sound.
Two plus two is four, and four times seven is twenty eight.
Who was the man that you were talking to at the party?
A bigger problem appeared when the pumps stopped in the middle of March.
Remember, the best moment to begin is before you feel prepared.
""",
    "\n",
)

NOUNS = _split(
    """
boat | house | paper | mountain | bottle | pepper | mother | father | window | village | farm | camera |
problem | moment | voice | bird | apple | movie | river | table | garden | picture | lamp | book | room |
school | bridge | horse | shoe | wolf | judge | flower | sugar | museum | baby | puppy | chef | thumb |
orchard | water | wood | food | cloud | oil | toy | joy | ocean | road | coat | bag | machine | market |
powder | pillow | hammer | spoon | mouth | tooth | path | beach | bush | pool | cow | owl | boy | coin | year |
ear | chair | fire | tower
""",
    "|",
)
ADJECTIVES = _split(
    """
big | small | warm | pale | purple | blue | green | heavy | beautiful | strange | simple | important | public |
open | famous | lovely | rough | smooth | happy | young | old | loud | quiet | fresh | white | yellow |
broken | hopeful | muddy | bright | poor | narrow | huge | cheap | soft | firm | busy
""",
    "|",
)
VERBS = _split(
    """
moved | found | painted | opened | bought | sold | pushed | pulled | made | brought | saw | watched | washed |
covered | fixed | gave away | borrowed | measured | remembered | showed | threw | chose | shook | owned |
enjoyed | heard | described | photographed | imagined | believed in | looked at | wrapped | kept | carried |
lost | shared
""",
    "|",
)
PERSONS = _split(
    """
my mother | my brother | the farmer | a woman | the young man | our teacher | nobody | everybody | he | she |
they | we | I | you | the boys | Bob and Mary | Thomas | Julia | Victor | the whole team | people |
the woman with the umbrella | both of them
""",
    "|",
)
ADVERBIALS = _split(
    """
yesterday | last summer | every morning | on Monday | after the show | before lunch | in the evening |
without a word | by mistake | for the first time | above the river | near the harbour | behind the shop |
with both hands | as far as I know | five times | for you | of course | in my opinion | with some help |
in June | all the way home | over there | very slowly | quite often
""",
    "|",
)
OPENERS = _split(
    """
Well | So | I mean | Actually | Maybe | Of course | Look | Honestly | You know | Oh | By the way |
For example | However | But | And | Wow | Hmm | Now
""",
    "|",
)
NUMBERS = _split(
    """
two | three | four | five | six | seven | eight | nine | ten | eleven | twelve | twenty | forty | a hundred |
a few | some | many
""",
    "|",
)

TEMPLATES = _split(
    """
{P} {V} the {A} {N} {W}.
{O}, {P} {V} a {N} and a {A} {N2} {W}.
{W}, {P} {V} the {N}, but the {N2} was {A}.
Why is the {N} so {A}, and who {V} the {N2}?
{O}, I think the {A} {N} is better than the {A2} {N2}.
If the {N} is {A}, {P} will move the {N2} {W}.
The {A} {N} {V} the {A2} {N2} {W}.
How about a {A} {N} for {P}?
{P} never {V} the {N}, and that is why the {N2} is {A}.
There is a {A} {N} above the {N2}.
{O}, what a {A} {N}!
Please move the {N} away from the {A} {N2}.
{P} and {P2} {V} {n1} {N}s and {n2} {N2}s {W}.
I would say that {P} {V} it {W}, {O}, it was {A}.
Do you remember the {N} that {P} {V} {W}?
{A}, {A2}, but never {A3}: that was the {N}.
""",
    "\n",
)

_OTHERS = {
    "ca": """
Bon dia a tothom, em dic Pau i visc a prop del riu.
La meva mare fa pa fresc amb mantega cada dissabte.
Demà anirem al mercat a comprar peix i fruita.
Obre la finestra, si us plau, que aquí fa molta calor.
El gos petit corre pel jardí verd i busca la pilota.
El meu germà va pintar una barca blava amb els amics.
""",
    "cmn": """
大家早上好，我叫保罗，我住在河边的小房子里。
明天天气可能会变好，但是晚上会下雨。
我妈妈每个星期六都做新鲜的面包。
请把窗户打开，因为这里非常热。
我觉得我们应该谈一谈上个星期发生的事情。
他买了一条蓝色的船，和朋友们一起把它漆好了。
如果你想学音乐，每天都要练习。
这个问题非常重要，我们必须慢慢地说。
""",
    "cs": """
Dobré ráno všem, jmenuji se Pavel a bydlím u řeky.
Moje maminka peče v sobotu čerstvý chléb s máslem.
Zítra půjdeme na trh koupit ryby a ovoce.
Prosím, otevřete okno, protože je tady velmi horko.
Malý pes běhá po zelené zahradě a hledá míč.
Nevím, proč se staré hodiny zastavily v sedm hodin.
Můj bratr natřel modrou loď se svými přáteli.
""",
    "de": """
Guten Morgen, mein Name ist Paul und ich wohne in einem kleinen Haus am Fluss.
Das Wetter wird morgen wahrscheinlich besser, aber am Abend kommt Regen.
Wir haben gestern ein schönes Buch über Bäume und Vögel gekauft.
Können Sie mir bitte sagen, wo der Bahnhof ist?
Meine Mutter backt jeden Samstag frisches Brot mit Butter und Pflaumen.
Über das Problem müssen wir in Ruhe sprechen, bevor wir etwas ändern.
Fünf junge Hunde spielen fröhlich auf der grünen Wiese.
Ich glaube, dass wir früher aufbrechen müssen.
""",
    "es": """
Buenos días a todos, me llamo Pablo y vivo cerca de la playa.
Mi hermano pintó un barco azul con la ayuda de sus amigos.
Mañana vamos a visitar el mercado para comprar pan y fruta.
Por favor, abra la ventana porque hace mucho calor aquí.
No sé por qué el viejo reloj dejó de funcionar a las siete.
Siempre me ha gustado hablar con mi abuela sobre su pueblo.
El problema más importante es que nadie quiere escuchar.
""",
    "fi": """
Hyvää huomenta kaikille, minun nimeni on Pauli ja asun joen rannalla.
Huomenna menemme torille ostamaan kalaa ja leipää.
Avaa ikkuna, koska täällä on hyvin kuuma.
Pieni koira juoksee vihreässä puutarhassa.
""",
    "fr": """
Bonjour à tous, je m'appelle Paul et je suis très heureux de vous voir.
Nous avons acheté du pain, du beurre et un peu de fromage au marché.
Il faut parler doucement parce que le bébé dort dans la chambre bleue.
Pouvez-vous me montrer où se trouve la vieille gare, s'il vous plaît?
Mon frère a peint un beau bateau pour son ami pêcheur.
Je pense que demain il fera beau, mais un peu froid.
Une petite voiture jaune attend devant la maison du voisin.
""",
    "it": """
Buongiorno a tutti, mi chiamo Paolo e abito vicino al fiume.
Mia madre prepara sempre il pane con un poco di burro e olio.
Domani forse andiamo al mercato per comprare pesce fresco.
Per favore, può aprire la finestra? Fa molto caldo qui dentro.
Il bambino gioca con un piccolo cane bianco nel giardino.
Non so perché il vecchio orologio si è fermato alle sette.
Ognuno può imparare la musica se prova ogni giorno.
""",
    "pl": """
Dzień dobry wszystkim, mam na imię Paweł i mieszkam nad rzeką.
Moja mama piecze w sobotę świeży chleb z masłem.
Jutro pójdziemy na rynek kupić ryby i owoce.
Proszę otworzyć okno, bo tutaj jest bardzo gorąco.
Mały pies biega po zielonym ogrodzie.
""",
    "pt": """
Bom dia a todos, o meu nome é Paulo e moro perto da praia.
O meu irmão pintou um barco azul com os amigos dele.
Amanhã vamos ao mercado comprar pão, manteiga e peixe fresco.
Por favor, abra a janela porque está muito calor aqui.
Eu não sei por que o velho relógio parou às sete horas.
""",
    "ru": """
Доброе утро, меня зовут Павел, и я живу у реки.
Моя мама печёт по субботам свежий хлеб с маслом.
Завтра мы пойдём на рынок и купим рыбу.
Пожалуйста, откройте окно, потому что здесь очень жарко.
Маленькая собака бегает по большому зелёному саду.
""",
    "tr": """
Günaydın, benim adım Paul ve nehrin yanında küçük bir evde oturuyorum.
Yarın pazara gidip taze balık ve ekmek alacağız.
Lütfen pencereyi açın, çünkü burası çok sıcak.
Küçük köpek bahçede mutlu bir şekilde oynuyor.
""",
}
OTHERS: dict[str, list[str]] = {language: _split(text, "\n") for language, text in _OTHERS.items()}
"""Sentences in other languages, by ISO code (`cmn` Mandarin)."""


def english(count: int, seed: int) -> list[str]:
    """`count` English sentences: some written by hand, some made-up words, the others drawn from the templates."""
    draw = random.Random(seed)
    return [_ENGLISH_KINDS[k % len(_ENGLISH_KINDS)](draw) for k in range(count)]


def other(language: str, count: int, seed: int) -> list[str]:
    """`count` sentences of a language: all of them in turn, each round in another order, and made-up words between."""
    draw = random.Random(seed)
    sentences: list[str] = []
    while len(sentences) < count:
        written = draw.sample(OTHERS[language], len(OTHERS[language]))
        sentences += [line for sentence in written for line in (sentence, made_up(draw, language))]
    return sentences[:count]


def made_up(draw: random.Random, language: str = "en") -> str:
    """Words of no language: each consonant meets each vowel, and p is as common as n, which no real text offers."""
    words = [_made_up_word(draw) for _ in range(draw.randint(5, 8))]
    line = ", ".join([" ".join(words[:3]), " ".join(words[3:])]).capitalize() + "."
    return line.translate(_CYRILLIC) if language == "ru" else line


def _made_up_word(draw: random.Random) -> str:
    syllables = [draw.choice(_ONSETS) + draw.choice("aeiou") for _ in range(draw.choice([1, 2, 2, 3]))]
    return "".join(syllables) + draw.choice(_ENDS)


_ONSETS = ("p", "b", "m", "p", "b", "m", "n", "n", "t", "d", "k", "g", "l", "s", "f", "v", "r", "pl", "br", "sp", "")
_ENDS = ("", "", "", "m", "n", "p", "t", "k", "s", "l")
_CYRILLIC = str.maketrans("abdefgiklmnoprstuvABDEFGIKLMNOPRSTUV", "абдефгиклмнопрстувАБДЕФГИКЛМНОПРСТУВ")


def _by_hand(draw: random.Random) -> str:
    return draw.choice(ENGLISH)


def _from_template(draw: random.Random) -> str:
    pick = draw.choice
    sentence = pick(TEMPLATES).format(
        N=pick(NOUNS),
        N2=pick(NOUNS),
        A=pick(ADJECTIVES),
        A2=pick(ADJECTIVES),
        A3=pick(ADJECTIVES),
        V=pick(VERBS),
        P=pick(PERSONS),
        P2=pick(PERSONS),
        W=pick(ADVERBIALS),
        O=pick(OPENERS),
        n1=pick(NUMBERS),
        n2=pick(NUMBERS),
    )
    return sentence[0].upper() + sentence[1:]


_ENGLISH_KINDS: tuple[Callable[[random.Random], str], ...] = (_by_hand, _from_template, made_up, _from_template)
