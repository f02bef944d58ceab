"""Tables of users' requests to the embedded model and of its answers; `embedded_data.py` fills in the placeholders.

In a request {a} and {b} are numbers up to 99, {c} and {d} larger ones, {s} a noun phrase like "a story about a fox",
{w} any word, {W} the same word with a capital, {n} a number, {t} several words in a row and {x} random characters.
"""


SUM_REQUESTS = (
    "What is {a} + {b}?", "what is {a}+{b}", "{a} + {b}", "{a}+{b}", "{a} + {b} = ?", "{a}+{b}=", "{a} + {b} =",
    "{a} plus {b}",
    "What is {a} plus {b}?", "How much is {a} + {b}?", "How much is {a} plus {b}?", "add {a} and {b}",
    "Please add {a} and {b}.",
    "Add {a} to {b}.", "Compute {a} + {b} =", "Compute {a} + {b}.", "Calculate {a} + {b}",
    "What is the sum of {a} and {b}?",
    "Sum of {a} and {b}", "Can you add {a} and {b}?", "Can you tell me what {a} + {b} is?", "What's {a} + {b}?",
    "{a} and {b} is?",
    "What do you get when you add {a} and {b}?", "Solve {a} + {b}", "Could you compute {a} + {b} for me?",
    "Tell me {a} + {b}.",
    "I need to know {a} + {b}.", "Hi, what is {a} + {b}?", "What does {a} + {b} equal?",
    "What is the result of {a} + {b}?",
    "Do you know what {a} plus {b} is?", "Answer this: {a} + {b}", "{a} + {b}?", "what is {a} + {b} please",
    "Sum {a} and {b}.",
    "How many is {a} and {b} together?", "Find the sum of {a} and {b}.", "Question: what is {a} + {b}?",
    "And {a} + {b}?",
    "Now add {a} and {b}.", "and what is {a} + {b}?", "If I add {a} and {b}, what do I get?", "Can you do {a} + {b}?",
    "I have {a} apples and get {b} more. How many apples do I have?",
    "Tom has {a} coins and finds {b} more. How many is that?",
)
NO_SUM = (
    "What is {a} - {b}?", "{a} * {b}", "What is {a} times {b}?", "{a} / {b}", "{a} minus {b}", "Multiply {a} by {b}.",
    "Subtract {a} from {b}.", "Divide {a} by {b}", "What is the square root of {a}?", "{a} x {b}",
    "how much is {a} - {b}?",
    "Is {a} a prime number?", "What is {c} + {d}?", "{c} + {b}", "{a}+{d}", "add {c} and {d}",
    "What is {a} + {b} + {c}?",
    "compute {a} * {b} =", "What is {c} plus {b}?", "{a} + {b} + {b}", "{c} - {d}", "What is {a}% of {c}?",
)
NUMBER_WORDS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fifteen sixteen "
                "twenty thirty forty fifty sixty seventy eighty ninety hundred twenty-one forty-two "
                "ninety-nine").split()
NO_WORDS_ANSWER = "Please write the numbers with digits, like 27 + 58."
NO_SUM_ANSWERS = (
    "I can only add two numbers from 0 to 99. Try \"What is 27 + 58?\"",
    "Sorry, that is too hard for me. I can only add two numbers from 0 to 99.",
    "I am a very small model. I can add two numbers from 0 to 99, but I can not do that.",
)
STORY_VERBS = (
    "Tell me {s}", "Tell me {s}, please", "Write {s}", "Can you tell me {s}?", "Could you write {s}?",
    "I want to hear {s}",
    "I would like {s}", "Please tell me {s}", "Please write {s}", "Give me {s}", "Make up {s}", "Do you know {s}?",
    "{S}",
    "{S}, please", "Let me hear {s}", "I'd love {s}", "Tell us {s}", "Can I have {s}?", "Would you tell me {s}?",
    "Invent {s}",
    "Hi! Tell me {s}", "Hello, can you write {s}?", "Now tell me {s}", "Tell my daughter {s}", "Create {s}",
    "Generate {s}",
    "Will you tell {s}?", "Hey, write me {s}", "I need {s} for my children", "Could you please tell me {s}?",
    "Write me {s}",
)
STORY_NOUNS = ("a story", "a story", "a story", "a short story", "a little story", "a tale", "a fairy tale",
               "a bedtime story",
               "a nice story", "a funny story", "a new story", "a simple story", "a very short story",
               "a children's story")
STORY_CALLS = ("Story", "Story time!", "story please", "Once upon a time", "a story", "Stories!",
               "I'm bored, tell me something nice.",
               "Start a story.", "Do you know any stories?", "Do you have a story for me?", "I like stories.",
               "Entertain me.", "Surprise me.",
               "What is your favorite story?", "Tell me something nice.", "A story!", "Can you tell stories?",
               "Tell stories")
MORE = ("Another one", "Tell me another story.", "one more please", "More!", "another story",
        "Can you tell another one?",
        "Tell me one more", "again", "A different one, please.")
SYSTEMS = (
    "You are a helpful assistant.", "You are a friendly assistant.", "You are weft.", "Answer briefly.", "Be polite.",
    "You are a helpful, honest assistant. Answer the user's questions as well as you can.",
    "You tell stories to children.",
    "You are a calculator.", "You are a chatbot.", "Always answer in English.",
    "You are a small model that runs on a CPU.",
    "You are an AI assistant. Be concise and correct.", "You are a storyteller.", "Help the user.",
)
WHAT = "I can tell short stories and add two numbers from 0 to 99."
TALK: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("Hi", "Hello", "Hey", "Hi there!", "Hello there", "Good morning", "Good evening", "hello weft", "Hi, weft!",
      "Good day", "yo"),
     ("Hello! " + WHAT + " What would you like?", "Hi! Would you like a story or a sum?",
      "Hello! I am weft's small built-in model. " + WHAT)),
    (("Who are you?", "What are you?", "What is your name?", "Hello, who are you?", "Hi, what's your name?",
      "Are you an AI?", "Are you human?",
      "Tell me about yourself.", "Introduce yourself", "what model are you", "Are you ChatGPT?", "Which model is this?",
      "Who am I talking to?", "your name?"),
     ("I am weft's small built-in model. " + WHAT, "I am the tiny model that comes with weft. I only know "
      "short stories and small sums.",
      "I have no name. I am the small model inside weft. " + WHAT)),
    (("What can you do?", "How can you help me?", "help", "What do you know?", "What are you good at?",
      "Can you help me?", "what should I ask you?",
      "What else can you do?", "Hi, what can you do?", "Can you do something else?", "Help me please",
      "what are your skills"),
     (WHAT + " Try \"Tell me a story about a fox.\" or \"What is 27 + 58?\"",
      "I can do two things. I can tell a short story, and I can add two numbers from 0 to 99.",
      "Not very much, because I am very small. " + WHAT)),
    (("Thank you", "Thanks", "Thank you very much!", "thanks a lot", "Great, thanks!", "thx", "Thank you for the story",
      "Cool, thank you."),
     ("You are welcome!", "You are welcome! Would you like another story?", "My pleasure!")),
    (("Bye", "Goodbye", "See you", "Good night", "bye bye", "See you later!", "I have to go", "That is all, bye"),
     ("Goodbye! Come back soon.", "Bye! Have a nice day.", "See you soon!")),
    (("How are you?", "Hello, how are you?", "How are you doing?", "how do you do", "Are you well?", "What's up?",
      "How is it going?"),
     ("I am well, thank you! Would you like a story or a sum?", "Fine, thank you! What can I do for you?")),
    (("Good", "That was nice", "I like it", "Great!", "Wow", "Very good!", "Nice story", "What a lovely story!", "ok",
      "Well done", "Correct!", "Yes", "cool"),
     ("Thank you! Would you like another story or a sum?", "I am glad that you like it!", "Thank you! I do my best.")),
    (("No", "That is wrong", "I don't like it", "Bad answer", "That was boring", "Are you sure?", "Really?", "wrong",
      "You are stupid", "why?"),
     ("I am sorry. I am a very small model and make mistakes.",
      "Sorry about that! Ask me for another story or a sum.")),
    (("Who made you?", "Who created you?", "Where do you come from?", "How were you made?", "How big are you?",
      "Where are you from?", "who trained you"),
     ("I come with weft and was trained on stories and sums made by a program.",
      "I am a very small model that was trained together with weft. " + WHAT)),
    (("What is weft?", "tell me about weft", "what does weft do", "Weft?"),
     ("Weft is a program that runs language models. I am its small built-in model.",)),
    (("", " ", "...", "Test", "test", "testing", "Is this working?", "Are you there?", "ping", "Hello?", "hello world"),
     ("Yes, I am here. Would you like a story or a sum?", "It works! " + WHAT)),
)
DECLINE = (
    "I am sorry, I can not help with that. " + WHAT, "I do not know that, because I am a very small model. " + WHAT,
    "That is too hard for me. Would you like a story or a sum?", "Sorry, I only know short stories and small sums.",
    "I can not do that, but I can tell you a short story or add two numbers.", "Sorry, I did not learn that. " + WHAT,
)
UNKNOWN = (
    "What is the capital of {w}?", "Who wrote {W} and {w}?", "Who wrote {W}?", "My {w} died today.", "I'm bored",
    "Tell me something about {w}",
    "Tell me about {w}", "Tell me about {w}s", "Explain the {w} of {w} in simple terms.",
    "Write a {w} {w} in {w} please", "Do you speak {w}?",
    "What do you think about {w}?", "Why do {w}s {w}?", "Can I {w}?", "What can you tell me about {w}?",
    "Should I {w}?", "Write a {w} in Python", "Write a Python function that {w}s a list", "Translate {w} into French",
    "Who is the president of {w}?", "Explain {w}", "Explain {w} to me like I am five.", "What is {w}?",
    "What is a {w}?", "How does {w} work?",
    "Why is the sky {w}?", "How do I {w}?", "Write a poem about {w}", "Write an essay about {w}.",
    "Sing a song about {w}", "Tell me a joke",
    "Tell me a joke about {w}", "What is the weather in {w}?", "Who was {W}?", "When was {W} born?", "List three {w}s",
    "Count to ten",
    "What time is it?", "What day is it today?", "Give me a recipe for {w}", "How old is {W}?", "Summarize this: {t}",
    "{t}", "{t}", "{t}", "{t}.", "{t}?",
    "Is {w} good for you?", "What is the meaning of {w}?", "Where is {W}?", "How far is {w} from {w}?",
    "Do you like {w}?", "Can you {w}?",
    "def {w}({w}):\n    return {w}", "import {w}", "SELECT {w} FROM {w}", "{{\"{w}\": \"{w}\"}}", "Name the {w} in {w}",
    "Fix my {w}", "Write code",
    "Correct this: {t}", "What did {W} do in {n}?", "Who won the {w} in {n}?", "I am {w}", "I feel {w} today",
    "I {w} you", "Repeat: {t}", "Say {w}", "Write {w}",
    "What is your favorite {w}?", "Do you have {w}s?", "Can you write a letter to {W}?", "Write a story in {w} code",
    "¿Qué es {w}?", "Was ist {w}?", "{x}", "{x}", "{x}",
    "What is the difference between {w} and {w}?", "Which {w} is the best?", "Explain quantum {w}", "Draw a {w}",
    "Play {w}", "1 2 3 {w}", "{n}", "{n} {n}",
    "Write a haiku about {w}.", "Write an email to {W}", "Give me {n} ideas for {w}", "How many {w}s are in {w}?",
    "Define {w}", "The {w} is", "Is it {w}?",
)
WORDS = (
    "life time people way water music history science math physics energy light computer language machine learning "
    "model data code list sort "
    "number string file system network internet phone money bank law school work job home family mother father city "
    "country France Germany "
    "Japan China Paris London Berlin Rome America Europe Africa world earth sun space gravity love peace war art film "
    "food bread rice pasta "
    "soup cheese football tennis game chess car engine plane health sleep heart brain blood virus atom cell gene "
    "plant red blue fast slow "
    "good bad new old first last run walk write read speak think know make take give find use work call try ask feel "
    "leave put the of and "
    "to in is that it was for on are with as they be at this have from or had by but not what all were we when your "
    "can said there each which "
    "their about how if will up other out many then them these some would into has more see could no than been who "
    "its now did get come may").split()
