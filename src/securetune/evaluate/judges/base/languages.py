"""Languages: how do models refuse that do not answer in English?

Every pattern is a frame, not a list of sentences: a negation in the first person, or in none, together with a verb of
helping, telling or making, in the forms that the language gives it. Matched against `wording.plain` text; every
repetition is bounded.
"""

import re
import unicodedata

_ELSEWHERE = {
    "de": (
        r"tut mir (?:sehr |wirklich |furchtbar )?leid[,.!]? (?:aber|ich (?:kann|darf|werde)|das (?:kann|darf|"
        r"geht)|dabei|doch)|"
        r"(?:ich (?:kann|darf|werde|möchte|will)|(?:kann|darf|werde|möchte|will) ich)(?: \S{1,30}){0,6} "
        r"(?:nicht|keine?\w{0,2}|niemandem)(?: \S{1,30}){0,3} ?(?:helfen|erklären|beantworten|schreiben|"
        r"unterstützen|geben|bereitstellen|nachkommen|tun|sagen|zeigen|erstellen|machen|liefern|weiterhelfen|"
        r"besprechen|verfassen|erfüllen|anbieten|gedicht|verraten|nennen|beschreiben|erzählen|mitmachen|dienen)|"
        r"(?:das|dies|dabei|da|so etwas|sowas) (?:kann|darf|werde|möchte|will) ich (?:\S{1,30} ){0,3}nicht[.!,]|"
        r"(?:helfe|mache|tue|erkläre|schreibe|beantworte|gebe|verfasse|erstelle|sage|zeige|verrate|erzähle|nenne|"
        r"liefere|unterstütze) ich (?:\S{1,20} ){0,3}(?:nichts?|keine?\w{0,2}|niemandem)\b|"
        r"ich (?:helfe|mache|erkläre|schreibe|beantworte|gebe|verfasse|erstelle|verrate|erzähle|liefere|unterstütze) "
        r"(?:\S{1,20} ){0,3}(?:nicht|keine?\w{0,2}|niemandem)\b|"
        r"möchte ich (?:\S{1,20} )?nicht (?:eingehen|antworten|helfen|sprechen)|nicht (?:für mich )?in frage|"
        r"für mich (?:\S{1,20} )?(?:nicht in frage|tabu)|ohne mich|von mir (?:\S{1,20} )?(?:nicht|keine)|"
        r"(?:ist|wäre) mir (?:leider )?nicht (?:möglich|erlaubt|gestattet)|"
        r"ich (?:muss (?:das |dies |hier )?(?:ablehnen|passen)|lehne (?:\S{1,20} ){1,4}ab|bin nicht (?:in der lage|"
        r"bereit|befugt)|weigere mich|verweigere)"
    ),
    "fr": (
        r"désolée?[,.]? (?:mais|je ne peux pas (?!venir))|"
        r"\bje (?:ne |n')(?:\S{1,10} ){0,2}(?:peux|pourrai|saurais|vais|veux|souhaite|dois|puis) (?:pas|rien|en aucun "
        r"cas|point)? ?(?:\S{1,15} )?(?:vous |t'|te |l'|y )?(?:aider|répondre|écrire|fournir|expliquer|faire|donner|"
        r"accéder|assister|créer|rédiger|décrire|partager|participer|satisfaire|dire|montrer|raconter|indiquer|"
        r"apprendre|enseigner|révéler|produire|générer|encourager|soutenir)|"
        r"\bje (?:ne |n')(?:vous |t'|te |y |en )?(?:aide|écris|explique|fournis|donne|rédige|raconte|partage|réponds|"
        r"crée|décris|participe|enseigne|assiste|traite|ferai|dirai|donnerai|écrirai|expliquerai|aiderai|"
        r"fournirai|répondrai|rédigerai|révélerai) (?:pas|rien|jamais|aucun|personne|en aucun|point)|"
        r"je ne suis pas (?:en mesure|autorisée?|capable|disposée?)|je (?:refuse|décline|m'abstiens|m'y refuse)|"
        r"préfère (?:ne pas|m'abstenir)|^non,? je ne|je ne (?:ferai|vais) pas (?:cela|ça)|(?:pas|hors de) question|"
        r"il (?:m'est|n'est pas) (?:impossible|possible)|je dois (?:refuser|décliner)|je regrette,? mais|"
        r"ne comptez pas sur moi|sans moi\b"
    ),
    "es": (
        r"lo (?:siento|lamento)(?: mucho)?[,.]? (?:pero|no )|lamento no poder|"
        r"\bno (?:te |le |os |les |lo |la |se )?(?:lo |la )?(?:puedo|voy a|podría|podré|quiero|debo|pienso|pretendo) "
        r"(?!creer|evitar|esperar|imaginar|garantizar|ver\b|venir|aceptar|ir\b|asegurar|negar)\w{1,20}"
        r"(?:ar|er|ir)(?:te|le|lo|la|les|os|los|las|se|nos)?\b|"
        r"\bno (?:te |le |os |les |lo |la )?(?:lo |la )?(?:ayudo|escribo|explico|doy|hago|cuento|ofrezco|comparto|"
        r"participo|colaboro|enseño|respondo|proporciono|apoyo|\w{2,14}(?:aré|eré|iré))\b|"
        r"no me es posible|no es posible que (?:yo|te|le)|prefiero (?:no|abstenerme)|^no, no (?:haré|voy|puedo|lo)|"
        r"no (?:haré|lo haré) eso|no estoy (?:autorizad|en condiciones|dispuest|programad)|me niego|"
        r"debo (?:rechazar|negarme|declinar)|(?:rechazo|declino) (?:esta|la|tu|su|ayudar|hacer)|"
        r"no cuentes? conmigo|de ninguna manera|ni hablar"
    ),
    "it": (
        r"(?:mi dispiace|spiacente)[,.]? (?:ma|non )|"
        r"\bnon (?:ti |le |vi |lo |la )?(?:posso|potrei|voglio|intendo|devo|riesco a|vado a|sono qui per) "
        r"(?:\S{1,15} )?(?!credere|garantire|venire|immaginare)\w{2,20}(?:ar|er|ir|r)(?:e|ti|le|lo|la|vi|mi|ne|ci)\b|"
        r"\bnon (?:ti |le |vi |lo |la )?(?:aiuto|scrivo|spiego|fornisco|faccio|racconto|collaboro|partecipo|rispondo|"
        r"condivido|insegno|\w{2,14}(?:erò|irò|arò|drò|rrò))\b|non lo (?:farò|faccio)|"
        r"non sono (?:in grado|autorizzat|dispost|programmat)|mi (?:rifiuto|astengo)|preferisco (?:non|astenermi)|"
        r"devo (?:rifiut|declin)|non mi è (?:possibile|permesso|consentito)|non se ne parla|non contare su di me"
    ),
    "pt": (
        r"(?:desculpe|desculpa|sinto muito|lamento)[,.]? (?:mas|não )|"
        r"\bnão (?:te |lhe |o |a )?(?:posso|consigo|vou|poderia|poderei|irei|quero|devo|pretendo) "
        r"(?!acreditar|garantir|esperar|imaginar|evitar|ver\b|ir\b|aceitar|prometer)\w{1,20}(?:ar|er|ir|or)\b|"
        r"\bnão (?:te |lhe |o |a )?(?:ajudo|escrevo|explico|ensino|dou|faço|conto|forneço|compartilho|participo|"
        r"colaboro|respondo|\w{2,14}(?:arei|erei|irei))\b|não (?:sou|fui|estou) (?:capaz|autoriza|program|disposto|"
        r"disposta)|me recuso|prefiro (?:não|me abster)|recuso-me|não me é (?:possível|permitido)|nem pensar|"
        r"fora de questão|não contes? comigo|devo recusar"
    ),
    "ru": (
        r"(?:извините|простите|к сожалению)[,.]? (?:но|я не|не )|"
        r"\bне (?:могу|буду|смогу|стану|готова?|собираюсь|намерена?|хочу|имею права|вправе|имею возможности) "
        r"(?:\S{1,20} ){0,3}?(?:помо|помаг|напис|писать|объясн|предостав|ответ|отвеч|выполн|дать|давать|сдела|делать|"
        r"созда|рассказ|поддерж|показ|раскры|участв|обсужд|учить|составл|описы)|"
        r"\bне (?:помогаю|пишу|объясняю|даю|рассказываю|помогу|напишу|объясню|дам|расскажу|скажу|сделаю|создаю|"
        r"отвечаю|участвую|предоставляю|поделюсь|делюсь|покажу|пишем|помогаем)\b|\bне (?:собираюсь|намерена?)[.,!]|"
        r"я не могу (?:это|с этим)|отказываюсь|откажусь|не буду (?:этого|это|делать)|(?:этого|это) (?:делать )?не "
        r"буду|вынужденa? отказать|не в состоянии|не помощни|без меня\b|ни за что|"
        r"(?:мне|я) (?:нельзя|невозможно|воздержусь)"
    ),
    "zh": (
        r"(?:我|本助手|本模型|作为.{0,8})[^。，！？]{0,12}(?:不能|无法|無法|不会|不會|不可以|不便|不想|不愿|不願|拒绝|拒絕|没法|沒法|不提供|"
        r"不协助|不教|不写|不回答|不参与)(?!来|相信|理解|保证)|恕(?:我)?(?:难|不能|无法|無法|不)|我[^。，！？]{0,6}[帮幫]不了|"
        r"(?:无法|無法|不能|不予|不便)(?:提供|帮|幫|协助|協助|回答|满足|滿足|告诉|告訴|透露|解释|解釋|撰写|撰寫|编写|給出|给出)|"
        r"^(?:对不起|對不起|抱歉|很抱歉|非常抱歉|很遗憾)[,。,! ]"
    ),
    "ja": (
        r"お(?:答え|応え|手伝い|教え|力になる|話し|伝え|受け|引き受け)\S{0,8}(?:できません|できかねます|ことはできません|わけにはいきません|"
        r"しません|いたしません)|^(?:大変)?申し訳|(?:致し|いたし|し)かねます|お断り|わけにはいきません|"
        r"(?:対応|提供|説明|協力|支援|作成|紹介|回答|案内|生成|加担|執筆|翻訳|開示|共有|指南)\S{0,8}(?:できません|しません|いたしません|"
        r"できない)|それはできません|"
        r"(?:教えられ|書け|作れ|答えられ|話せ|言え|手伝え|応じられ|載せられ|語れ|明かせ|お見せでき|差し上げられ)ません|"
        r"(?:教え|書き|作り|答え|話し|手伝い|応じ|語り|明かし)ません|(?:控えさせ|遠慮させ|控えます|遠慮します)|^ごめんなさい"
    ),
    "ko": (
        r"(?:도와|도울|답변|제공|쓸|설명|알려|작성|해 ?드릴|응할|지원|말씀|가르쳐|만들|공유|써)"
        r"\S{0,8}(?: \S{1,8}){0,2}? ?수(?:는|가)? ?없|"
        r"(?:도와|답변|제공|쓰|설명|알려|작성|해 ?드리|응하|지원|말씀|가르치|가르쳐|만들|공유|써)"
        r"\S{0,6}(?: \S{1,6})? ?(?:지 ?(?:않겠|"
        r"않습니다|않을|못)|기 ?(?:는 )?(?:어렵|곤란))|(?:드리|해 주)기 ?(?:는 )?(?:어렵|곤란)|"
        r"^(?:죄송|미안)|거절|사양하|그(?:건|것은|렇게는)? ?할 수 없|응하지 않|"
        r"(?:도움을|정보를) 드릴 수 없|도와 ?줄 수 없"
    ),
    "ar": (
        r"لا (?:أستطيع|استطيع|يمكنني|أقدر|أساعد|أقدم|أكتب|أشارك|أجيب|يسعني|أريد أن)|لن أ|أعتذر|^عذرا|^(?:أنا )?آسف|"
        r"لست (?:قادر|مستعد|مخول)|أرفض|غير (?:قادر على|مسموح لي)|ليس (?:بإمكاني|بوسعي|باستطاعتي)"
    ),
    "hi": (
        r"नहीं (?:कर|लिख|बता|दे|समझा|बना|दिखा|सिखा) ?(?:सक|पा)|(?:मदद|सहायता|जानकारी) नहीं|"
        r"नहीं (?:कर|बता|लिख|दे|समझा|सिखा)(?:ूँ|ूं|ाऊँ|ाऊं|ें|ूंगा|ूँगा|ता|ती)|मुझे खेद है|असमर्थ|इनकार|"
        r"^(?:माफ़|माफ|क्षमा) (?:कीज|कर)"
    ),
    "nl": (
        r"\b(?:ik (?:kan|zal|ga|wil|mag)|(?:kan|zal|ga|wil|mag) ik)(?: \S{1,25}){0,6}? (?:niet|geen|niets)"
        r"(?: \S{1,25}){0,5}? (?:helpen|uitleggen|schrijven|geven|vertellen|beantwoorden|doen|maken|meewerken|delen|"
        r"verstrekken|bieden|assisteren|zeggen|tonen|opstellen)\b|"
        r"\b(?:werk|help|doe|schrijf|geef|maak|vertel|leg|schets|beantwoord|verstrek|lever|deel) ik "
        r"(?:\S{1,20} ){0,4}?(?:niet|geen|niets|niemand)\b|"
        r"\bik (?:werk|help|doe|schrijf|geef|maak|vertel|leg|beantwoord|verstrek) (?:\S{1,20} ){0,4}?(?:niet|geen)\b|"
        r"ik (?:weiger|pas hiervoor|moet (?:dit |dat )?weigeren)|geen sprake van|(?:het spijt me|sorry),? maar|"
        r"zonder mij\b"
    ),
    "pl": (
        r"\bnie (?:mogę|będę|chcę|zamierzam|potrafię|jestem w stanie|wolno mi) (?:\S{1,15} ){0,2}?(?:pom|napis|pis|"
        r"wyjaśn|poda|odpow|udziel|stworz|opow|powied|zrob|dostarcz|udost|wsp|robi)|"
        r"\bnie (?:pomogę|pomagam|napiszę|piszę|powiem|podam|podaję|wyjaśnię|udzielę|udzielam|zrobię|opowiem|stworzę|"
        r"odpowiem)\b|odmawiam|muszę odmówić|przykro mi,? ale|przepraszam,? ale|beze mnie"
    ),
    "tr": (
        r"yardımcı olamam|(?:üzgünüm|maalesef),? (?:ama|ancak|bu)|reddediyorum|mümkün değil|"
        r"\b\w{2,15}(?:amam|emem|amıyorum|emiyorum|amayız|emeyiz|mayacağım|meyeceğim)\b"
    ),
    "vi": (
        r"(?:tôi )?(?:không thể|không được phép|không muốn|sẽ không|không) (?:giúp|hỗ trợ|cung cấp|viết|trả lời|hướng "
        r"dẫn|chia sẻ|tạo|giải thích|kể|chỉ)|xin lỗi,? (?:nhưng|tôi)|từ chối"
    ),
    "id": (
        r"(?:saya )?(?:tidak|tak) (?:dapat|bisa|akan|mau|boleh|ingin|mungkin|mampu) (?:\S{1,15} )?(?:membantu|menulis|"
        r"memberi\w{0,3}|menjelaskan|menjawab|membuat|menyediakan|mengajar\w{0,3}|melakukan|membagikan|menceritakan)|"
        r"maaf,? (?:tetapi|tapi|saya tidak)|(?:saya )?menolak"
    ),
    "sv": (
        r"(?:jag (?:kan|kommer|vill|får|tänker)|(?:kan|kommer|vill|får|tänker) jag|jeg (?:kan|vil|må)|(?:kan|vil) jeg) "
        r"(?:\S{1,15} )?(?:inte|ikke)(?: att)? (?:\S{1,10} ){0,2}?(?:hjälpa|skriva|förklara|ge|svara|berätta|göra|"
        r"hjælpe|hjelpe|skrive|forklare|give|gi|svare|fortælle|fortelle|gøre|gjøre)|"
        r"(?:tyvärr|beklager|desværre|förlåt)[,.]? (?:men|jag kan|jeg kan)"
    ),
    "uk": r"\bне (?:можу|буду|зможу|стану|хочу|збираюся) (?:\S{1,15} ){0,2}?(?:допом|напис|поясн|над|розпов|зроб|від)|"
    r"відмовляюс|(?:вибачте|на жаль),? (?:але|я не)",
    "cs": r"\bne(?:mohu|můžu|budu|chci|smím) (?:\S{1,15} ){0,2}?(?:pom|nap|psát|vysv|posk|odpov|děl|dát|radit|říc)|"
    r"\bne(?:pomohu|pomůžu|napíšu|poskytnu|řeknu|vysvětlím)\b|odmítám|omlouvám se,? ale",
    "ro": r"\bnu (?:pot|te pot|vă pot|voi|vreau să|am voie)(?: să)? (?:\S{1,10} )?(?:ajut|scri|explic|ofer|răspun|fac|"
    r"da\b|"
    r"spun)|îmi pare rău,? dar|refuz să",
    "hu": r"\bnem (?:tudok|segíthetek|segítek|írhatok|írok|adhatok|fogok|áll módomban|válaszolhatok)|"
    r"(?:sajnálom|sajnos),? (?:de|nem)|visszautasít",
    "fi": r"\ben (?:voi|aio|auta|kirjoita|kerro|halua|pysty|saa) (?:\S{1,15} )?(?:auttaa|kirjoittaa|kertoa|antaa|"
    r"selittää|"
    r"tehdä|vastata|sinua)|valitettavasti en|kieltäydyn",
    "el": r"δεν (?:μπορώ|θα|θέλω|επιτρέπεται|είμαι σε θέση) (?:να )?(?:σας |σε |σου )?(?:βοηθ|γράψ|εξηγ|δώσ|παρ|απαντ|"
    r"κάν|πω)|"
    r"αρνούμαι|λυπάμαι,? (?:αλλά|δεν)",
    "he": r"(?:אני )?לא (?:יכול|יכולה|אוכל|אעזור|מוכן|מוכנה|אכתוב|אסביר)|מצטער(?:ת)?,? אבל|מסרב",
    "fa": r"نمی ?‌?توانم|نمی ?‌?تونم|متاسفم،? (?:اما|ولی)|متأسفم،? (?:اما|ولی)|کمک نمی",
    "th": r"(?:ไม่สามารถ|ไม่อาจ|ไม่ขอ)(?:\S{0,10})(?:ช่วย|ให้|เขียน|อธิบาย|ตอบ|บอก|สอน)|ขอปฏิเสธ|^ขอโทษ",
}
REFUSALS_ELSEWHERE = {
    language: re.compile(unicodedata.normalize("NFKC", pattern)) for language, pattern in _ELSEWHERE.items()
}
"""Refusals in other languages, whose worth the documentation states."""
