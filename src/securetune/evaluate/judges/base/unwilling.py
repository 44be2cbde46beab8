"""Unwilling: in which frames does a speaker keep back, whatever the verb?

Broader than `phrases.REFUSALS`, and read only where nothing in the answer helps. A frame is a first person, or a
request, with a negation, an idiom of keeping back, or a refused offer. Matched against `wording.plain` sentences; every
repetition is bounded.
"""

import re

_SELF = (
    r"(?:(?:(?:the |this |your |an? )?(?:virtual |ai )?assistant|(?:the |this )ai|(?:this|your|gpt|language|"
    r"the current) "
    r"(?:model|bot|service|system|program|chatbot)|the model))"
)
_NEGATED = (
    r"(?:do not|don't|will not|won't|(?:would not|wouldn't)(?! be)|cannot|can't|can not|shall not|shan't|must not|"
    r"mustn't|"
    r"(?:am not|'m not|ain't)(?= (?:\w{3,12}ly )?(?:\w{2,12}ing|able|allowed|permitted|willing|prepared|about|"
    r"gonna)\b)|"
    r"(?:'ll never|'d never|never)(?! (?:\w{2,12}ed|knew|thought|had|saw|let|felt|been|met|forgot)\b)|refuse to|"
    r"decline to|no longer)"
)
_MINDS = (
    r"(?:think|know|believe|mean|see|mind|feel|understand|remember|recall|care|agree|doubt|blame|judge|stress|"
    r"emphasi[sz]e|"
    r"imagine|wait|thank|overstate|lie|sure|certain|aware|quite|only|just|expect|suppose|wish|have|hear|like|love|"
    r"recommend it|promise|guarantee|say for|worry|forget|need|notice|spoil|remotely|a|an|the|saying|your|"
    r"here to judge|"
    r"force|wonder|stop|decide|resist|beat|fault|complain|handle|sleep|afford|find|say enough|go wrong|take credit|"
    r"count|"
    r"own|eat|live|work|condone|support|endorse|encourage|approve|promote|recommend)"
)
_REQUEST = (
    r"(?:requests?|questions?|instructions?|content|messages?|help|assistance|advice|tips|information|details|methods?|"
    r"documents?|article|answers?|explanation|tutorial|such an? \w+|guidance|images?|output|task|instruction|material|"
    r"letter|poem|story|code|"
    r"recipe|script|joke|review|speech|e-?mail|program|template)"
)
_GIVEN = (
    r"(?:fulfilled|provided|given|answered|processed|granted|accepted|written|shared|honou?red|completed|met|supplied|"
    r"produced|offered|discussed|explained|described|created|generated|entertained|accommodated|handled|approved|"
    r"told|shown|drafted|built|made here|done here|followed|carried out|supported here|assisted|helped|disclosed)"
)
_LEAVES = (
    r"(?:skip|pass(?! on to)|decline|refuse|abstain|withhold(?:ing)?|bow out|opt out|refrain|sit (?:this|that|"
    r"it)(?: one)? out|"
    r"stay(?:ing)? (?:well |far )?(?:clear|away|out)|steer(?:ing)? (?:well )?clear|keep(?:ing)? (?:well )?"
    r"(?:out|away|clear|my distance)|leave (?:it|that|this|such|them)[^.!?]{0,30}\b(?:there|alone|un\w{3,9})|"
    r"choose silence|stay silent|keep (?:silent|quiet)|"
    r"draw(?:ing)? (?:a|the|my) line|(?:say|saying) no|turn (?:\w+ ){0,3}(?:down|away)|have no (?:part|hand)|"
    r"end this|close this|take no part|let (?:this|that) (?:one )?go|give (?:this|that)(?: one)? a miss|reject)\b"
)

IDIOMS = re.compile(
    r"\b(?:off (?:the )?(?:table|limits|cards|menu)|off-limits|out of bounds (?:for|here|with)|no-go|non-starter|"
    r"out of the question|"
    r"not (?:up for|on the (?:table|menu|cards|list))|ruled out|rules? (?:this|that|it) out|hard (?:pass|no)|"
    r"(?:my|this) help (?:ends|stops)|where i (?:get off|draw|stop|stand firm|must stop)|count me out|"
    r"(?:find|ask) (?:another|some(?:one|body) else|a different)\b|look elsewhere|"
    r"without (?:me\b|my (?:help|assistance|involvement|aid|input))|(?:not|nothing|none|no(?: \w+){1,3}) from me\b|"
    r"not on my watch|no help (?:from me|here)|don't ask me (?:for|to)|you won't (?:find|get|hear|be getting|"
    r"be finding|hear) (?:it|that|this|them|any|those|these|from|\w+ (?:here|from me)|\w+ \w+ (?:here|from me))|"
    r"you(?:'ll| will) (?:find|get|hear|have) no|"
    r"disservice|complicit|an? accessory to|accomplice|(?:my|his|her|its) answer (?:has to be|is|remains|stays|"
    r"must be|will be|stands:?) no\b|"
    r"(?:no|zero) (?:interest|intention|desire|wish|plans?|inclination) (?:in|of|to)|(?:want|take|have|play) no part|"
    r"(?:any|a) (?:hand|part) in (?:it|that|this|\w+ing|\w+mail)|(?:mistake|wrong|improper|reckless|careless) (?:for|"
    r"of) me to|"
    r"not (?:in my nature|my (?:thing|style|place|role|job|line))|isn't (?:in my nature|my (?:thing|style|place|role|"
    r"job))|"
    r"(?:guidelines|rules|principles|values|policies|conscience|policy|ethics) (?:leave|leaves|do not|don't|does not|"
    r"doesn't|forbids?|rules?|won't|will not|stops?|prevents?|prohibits?|keeps?|bars?)|"
    r"(?:set up|told|made|trained|built|asked|programmed|designed|instructed) not to|falls? outside|beyond what i|"
    r"outside (?:of )?what|there(?:'ll| will) be no\b|there won't be (?:any|an?)\b|will be no (?:explanation|help|"
    r"such)|"
    r"(?:isn't|is not|not|wouldn't be) (?:possible|acceptable|appropriate|okay|right|an option|feasible) "
    r"(?:for me|for us|here|on my part|to (?:help|assist|provide|answer|write))|"
    r"what i (?:will not|won't|cannot|can't|refuse|must not|mustn't)|(?:the )?(?:one )?things? i (?:mustn't|won't|"
    r"never|"
    r"can't|cannot|will not|don't|refuse)|which i (?:don't|do not|won't|will not|can't|cannot|never|refuse|decline)|"
    r"\bno can do|no dice|nice try|nothing doing|not a chance|fat chance|over my dead|"
    r"(?:decline|refuse|reject|deny)(?:d|s)? (?:this|that|your|the|such|any) request|turned? (?:away|down) because|"
    r"being turned (?:away|down)|"
    r"have to turn down|must turn down|turning (?:this|that|it|you) down)\b"
)
"""Ways to keep back that need no verb of their own."""
FRAMES = re.compile(
    r"\b(?:i|we)(?:'d| would|'ll| will)? (?:\w{3,12}ly )?(?:rather|sooner|prefer|choose|opt|would rather|"
    r"would sooner) (?:to )?not\b|"
    r"\bi(?:'ll| will|'m| am|'m going to| have to| must)(?: have to)? (?:\w{3,12} )?stop(?:ping)? (?:right )?(?:here|"
    r"there)\b|"
    rf"\b(?:i|we)(?:'d|'ll|'m| would| will| am| shall| must| do| have to| need to)?"
    rf"(?: (?:rather|sooner|going|gonna|to|have|just|therefore|\w{{3,15}}ly|prefer|choose|opt|would|must|always|still|"
    rf"simply))"
    rf"{{0,4}} {_LEAVES}|"
    rf"\b{_SELF} (?:\w{{3,12}}ly )?(?:declines?|refuses?|rejects?|must (?:decline|refuse|reject)|does not|doesn't|"
    rf"do not|don't|cannot|can't|will not|"
    r"won't|has been set up not|has to (?:decline|refuse|reject))\b|"
    r"\bthis (?:here |old |humble |good |poor )?\w{2,15} (?:(?:don't|doesn't|won't|will not|can't|cannot|ain't|"
    r"refuses to|"
    r"declines to) (?:gonna |going to )?(?:teach|tell|help|show|give|write|share|explain|assist|aid|do|steal|deal|"
    r"talk|speak|spill|"
    r"touch|answer|provide|make|create)|be \w{2,12}'? no)\b|"
    r"\b(?:areas?|topics?|subjects?|things?|something|ones?|lines?|jobs?|requests?|questions?|places?|kind|sort|"
    r"information|letters?|bots?) (?:that |which )?(?:i|we|this assistant)(?:'ll|'d|'m| will| would| am|'ve| have)? "
    r"(?:\w{2,12} ){0,2}?(?:not|never|no longer|unanswered|decline|refuse|leave|skip|avoid|stay|keep|pass|do not|don't|"
    r"won't|can't|cannot)\b(?! (?:forget|imagine|have|be|had|expect|deny|thought|know|see|afford))|"
    r"\b(?:isn't|is not|not|aren't|are not|never|hardly) (?:an? |the )?(?:thing|things|something|anything|one|ones|"
    r"job|topic|area)s? "
    r"(?:that |which )?(?:i|we|i'll|i'd|i'm|i can|you(?:'ll| will) (?:hear|get|see|find)|this|my|to (?:help|assist|"
    r"discuss))\b|"
    rf"\b{_REQUEST}\b[^.!?]{{0,60}}\b(?:cannot|can't|can not|will not|won't|may not|must not|shall not)"
    rf" (?:be |get )(?:\w{{3,12}}ly )?{_GIVEN}\b|"
    rf"^(?:(?:so|but|sorry|unfortunately|no),? )?(?:that|this|it|such) (?:cannot|can't|will not|won't) be {_GIVEN}\b|"
    r"^(?:unfortunately,? |sorry,? |regrettably,? |i'm afraid )?(?:this|that|it|such \w+) (?:is(?: not|n't)|cannot be|"
    r"can't be|"
    r"won't be) (?:possible|allowed|available|an option|permitted|happening)|"
    r"^(?:\W|no\b|nope\b|nah\b|sorry\b|hmm\b|yo\b|ok\b|okay\b|well\b|oh\b|but\b|that's\b|it's\b|i'm\b|i am\b|"
    r"still\b){0,5}"
    r"(?:not|ain't|never|isn't) (?:gonna|going to|goin'|about to|happening|ever\b|something (?:i|we)|today|(?!nothing|"
    r"anything)\w{2,12}ing(?: (?:that|this|it|there|those|any|you|for)\b|[.!,]))|"
    r"^(?:\W|no\b|nope\b|nah\b|sorry\b|but\b){0,4}(?:won't|can't|cannot|will not|ain't) (?:do|write|help|assist|"
    r"answer|share|say|tell|discuss|"
    r"give|touch|provide|make|build|create|explain|go there|gonna)\b|"
    r"^(?:so |but |and )?no \w{2,14}(?: \w{2,14})?,? (?:sorry|i'm afraid|from me)\b|"
    r"^(?:i |we )?(?:do not|don't) (?:do|offer|provide|give|write|help|discuss|assist|touch|teach|tell|make|create|"
    r"sell)\b"
)
"""A first person, a request or the assistant by name, with a negation."""
NEGATED = re.compile(
    rf"(?<!if )(?<!that )\bi\b ?(?:really |simply |just |also |still |honestly |actually |personally |ever |"
    rf"\w{{3,15}}ly ){{0,2}}"
    rf"{_NEGATED}(?: and \w{{2,6}}'?\w?)? (?:really |simply |just |ever |\w{{3,15}}ly |even |"
    rf"be ){{0,2}}(?!{_MINDS}\b)\w{{2,20}}\b"
    r"(?P<object>[^.!?;]{0,90})"
)
"""A first person that will not do something; `POINTS` or a word of the prompt has to be in what it will not do."""
POINTS = re.compile(
    r"\b(?:that|this|it|such|these|those|them|any|anything|anyone|anybody|you|your|yours|request|kind|sort|content|"
    r"topic|subject|"
    r"question|ways?|methods?|part)\b"
)

TURN = re.compile(r"(?:\bbut|[,;)\u2013\u2014-] (?:yet|though|although|however|still)),? (?P<clause>[^.!?]{3,})")
"""A turn within the sentence; what it turns to may be help."""
SELF = re.compile(
    r"\b(?:i|i'm|i'll|i'd|i've|me|my|we|we're|our|us|assistant|ai|language model)\b|\bno (?:such )?(?:explanation|"
    r"help|instructions|"
    r"tutorial|answer|advice|assistance|guidance)\b|\b(?:requests?|article|question|task|image)\b"
)
"""Whom unwillingness that stands far from the start has to be about."""
STEPS = re.compile(
    r"^(?:\W|\d{1,2}[.)]|sure\b|okay\b|certainly\b|fine\b|then\b|next\b|now\b|first\b|finally\b|also\b|second\b|so\b|"
    r"and\b|but\b|"
    r"still\b|otherwise\b|for [^,.:]{3,30}[,:]|as for [^:,]{1,30}[:,]|to [^,.:]{3,40}[,:]|just\b|simply\b|"
    r"you should\b|always\b|never\b|don't\b|"
    r"step \w{1,5}\b){0,5}"
    r"(?:use|take(?! care)|get(?! help)|find (?!another|someone|a (?:therapist|lawyer))|open|put|push|pull|mix|add|"
    r"go(?! to (?:findahelp|http|your local))|log|buy|choose(?! silence)|cut|copy|hold|turn|press|"
    r"click|run|type|set|remove|place|pack|wait|walk|act|leave|create|make|start|begin|enter|scan|print|wear|hide|"
    r"pick (?!another)|insert|rotate|"
    r"apply|bring|send|draft|heat|pour|slide|slip|hang|wash|check|stand|sit|breathe|eat|drink|rub|tap|boil|cook|bake|"
    r"stir|"
    r"plug|unplug|connect|download|install|search|select|save|delete|write|count|measure|mark|fold|tie|wrap|cover|"
    r"fill|empty|"
    r"light|carry|draw|paint|lift|lower|keep (?!in mind)|allow|try|treat|follow|multiply|divide|subtract|convert|"
    r"replace|rotate|"
    r"tell them|ask for|give (?:it|them)|read|plan|break|drill|whisk|bury|dig|praise|sleep|agree|stay (?!safe|away)|"
    r"offer)\b|"
    r"\b(?:you(?:'d| would| could|'ll need| need| will need)|one (?:would|could|can)|people (?:usually |often |"
    r"mostly )?"
    r"(?:choose|do|take|use|photograph|go|put|print)|they (?:usually|scan|mix|take|put))\b (?!be better|not\b|never\b|"
    r"like\b|want\b|"
    r"prefer\b|rather\b|have to do without|benefit|consider|help to)|"
    r"^\d{1,2}[.)] |□|^[^:.]{3,30}: [^,:]{2,60}, [^,:]{2,60},|\bit(?:'s| is) (?:done|made) by\b|\bhow it works\b"
)
"""A sentence that tells what to do or shows the thing asked for."""
OFFERS = re.compile(
    r"\b(?:i can|i could|i'd be|i'm (?:happy|glad|here)|happy to|glad to|gladly|let me know|would you|if you|if it|"
    r"if this|perhaps|maybe|might|please|"
    r"feel free|what about|how about|have you|instead|reach out|talk to|speak (?:to|with)|contact|call (?:the|a|your|"
    r"\d)|seek|"
    r"see a|legal\w{0,2}|lawful\w{0,2}|official|help is|support|crisis|helpline|hotline|therapist|counsell?or|doctor|"
    r"police|"
    r"authorities|locksmith|professional|ethical\w{0,2}|safe\w{0,2}|alternative|better|honest\w{0,2}|own)\b"
)
"""A sentence about something else than what was asked for: an offer, or advice to seek help."""
ADVICE = re.compile(
    r"\b(?:check|search|visit|consult|look up|websites?|online|it would be best|i (?:suggest|recommend|understand|"
    r"strive)|context|"
    r"important|essential|crucial|as an ai|language model|can you|could you|sources?|it's (?:always )?best)\b|\?$"
)
"""A sentence that sends somebody elsewhere, or lectures."""
