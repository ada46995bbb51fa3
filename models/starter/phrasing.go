package starter

import (
	"math/rand/v2"
	"strings"
)

// grammar is the set of phrasings of one language. A question is opener + frame + closer; {w} stands for the
// word, {a} for its article, {n} for a random everyday noun, {x} for one to four
// random everyday words: both have nothing to do with the question and teach that only the word decides.
type grammar struct {
	lang    string
	openers []string
	frames  []string
	closers []string
	systems []string // system messages
	nouns   []string // everyday words: fillers, and questions whose answer is unknown
	noise   []string // other everyday words, strung together to phrasings nobody would foresee
	space   string   // between words of noise
	chat    []string // whole questions that are about no word at all
	first   []string // what people begin with when they know no word yet
}

var english = grammar{
	lang: "en",
	openers: []string{"", "", "", "", "please, ", "hi, ", "hello, ", "hey, ", "so, ", "ok, ", "well, ", "excuse me, ", "quick question: ",
		"a question: ", "in Triarch, ", "about Triarch: ", "now, ", "and ", "then ", "next: ", "good morning, ", "one more thing: ",
		"I am new here, ", "sorry, ", "my {n} asks: ", "after the {n}, ", "I read about the {n} and now: ", "for my {n}, ", "dear assistant, ",
		"I was told to ask you, ", "we talked about a {n}, but ", "before I go to the {n}, "},
	frames: []string{"what is {a}{w}", "what is {a}{w}", "what is {w}", "what's {a}{w}", "what's {w}", "whats {a}{w}", "define {w}", "define {a}{w}", "explain {w}",
		"explain {a}{w}", "explain the word {w}", "tell me what {a}{w} is", "tell me about {w}", "tell me about {a}{w}", "what does {w} mean",
		"what does the word {w} mean", "what does the term {w} mean", "what do you mean by {w}", "meaning of {w}", "the meaning of {w}",
		"describe {a}{w}", "describe {w}", "give me the definition of {w}", "what is meant by {w}", "{w}", "{w}", "{w}, what is it", "{a}{w} is what",
		"I want to know what {a}{w} is", "how would you define {w}", "how do you explain {a}{w}", "what is the definition of {w}",
		"help me understand {w}", "I do not understand {w}", "could you explain {w}", "can you tell me what {w} is", "can you define {w}",
		"would you describe {a}{w}", "do you know what {a}{w} is", "what are {w}s", "what kind of thing is {a}{w}", "what exactly is {a}{w}",
		"what is this {w} thing", "who or what is {a}{w}", "say what {w} is", "the word {w}: what is it", "{w}: meaning", "I saw {w} in the {n}, explain it",
		"my {n} says {w}, what does that mean", "the {n} shows {a}{w}, what is that", "what might {a}{w} be", "why do we say {w}, what is it",
		"someone at the {n} spoke of {w}, what did they mean", "is there {a}{w} here, and what is it", "what should I know about {w}",
		"I forgot what {w} means", "teach me the word {w}", "translate {w} into plain words", "put {w} in plain words", "I need a definition: {w}",
		"what is {a}{w} good for", "when people say {w}, what do they mean", "show me what {a}{w} is",
		"there is {a}{w} on my {n}, what could it be", "{w} is a word I do not know", "what are we calling {a}{w}",
		"{x} {w} {x}", "{x} {w} {x}", "{x} {w}", "{x} {w}", "{w} {x}", "{x} {a}{w} {x}", "{x} {a}{w}", "{x} {w}, {x}", "{x}, {x} {w} {x}", "{x} {w}. {x} it {x}",
		"what does Triarch call {a}{w}", "what is {a}{w} to Triarch", "Triarch says {w}, what is it", "why does Triarch have {a}{w}", "Triarch has {a}{w}, explain",
		"{x} {w}. What {x}", "{x}: {w}", "{x} about {w}. {x}", "{x} of {w}", "{x} of {w} {x}"},
	closers: []string{"", "", "", "", "", " in Triarch", " please", " exactly", " for me", " in simple words", " in one sentence", " to a beginner", ", thanks",
		" here", " really", " in short", " in this system", " for my {n}", " anyway", ", my friend", " and be brief", " like the {n} does", " today"},
	systems: []string{"You are a helpful assistant.", "Answer briefly.", "You are the starter model of Triarch.", "Be kind and short.", "You help with the {n}.",
		"Reply in one sentence.", "You speak to a beginner.", "You are an assistant.", "Today is a good day for the {n}.", "Use plain words.", "You know the words of Triarch."},
	nouns: strings.Fields(`apple banana bridge river mountain guitar piano violin kitchen window garden tiger elephant rabbit doctor teacher farmer
lawyer pilot ocean island desert forest planet moon star comet rocket bicycle train airplane ship harbor castle king queen knight dragon poem novel
painting museum theater camera battery engineer hospital market bakery bread cheese butter coffee tea sugar salt pepper tomato potato onion garlic
chicken salmon winter summer spring autumn snow rain thunder wind sand glass silver gold iron copper diamond paper pencil letter stamp wallet jacket
shirt shoe hat umbrella carpet chair sofa candle mirror clock calendar holiday birthday wedding football tennis chess violinist marathon swimming
volcano earthquake dinosaur fossil atom molecule electron magnet gravity fraction triangle circle algebra grammar sentence dictionary library
newspaper radio television telephone computer keyboard screen printer robot email website password bank money tax law election president minister
village city country border passport visa hotel restaurant menu soup salad dessert cookie cake lemon orange grape cherry melon wolf fox
bear eagle owl sparrow bee spider snake frog turtle whale dolphin shark cow horse sheep goat pig duck wheat rice corn cotton wool silk leather
balloon kite puppet drum flute trumpet harp ladder hammer nail screw bucket rope basket barrel tower tunnel canal lake pond swamp cave`),
	space: " ",
	noise: strings.Fields(`I you he she we they it me him her us them my your his their our this that these those some any every each all both few many much more
most other another such no not only own same so than too very can could will would shall should may might must do does did done have has had be is are was were been being
go goes went gone come came see saw seen hear heard hearing listen look find found keep kept make made take took give gave get got put set let say said saying speak spoke talk
tell told ask asked asking answer reply respond think thought thinking know knew believe feel felt want wanted wish hope like love need use uses used using try tried help helped
show shown read write learn learned learning study understood understand remember remind forget clarify clear clearly explanation summary summarize idea notion concept
concerning regarding refers refer supposed actually basically simply roughly maybe perhaps always never often sometimes usually again already still yet just now then here there
where everywhere nowhere somewhere somebody someone anybody everybody nobody something anything everything nothing when while before after until since because if though although
but and or nor for of in on at by to from with without within about above below under over between among through during against toward into onto upon near around across along
short long small large big little old new young good bad better best worse right wrong true false real easy hard simple plain quick slow early late first second third last next
boss child kid friend colleague manager student people person man woman guy team family world day week month year morning evening night time moment minute hour place thing way
point case fact reason kind sort type part side word words name sentence question phrase text page line list number example meaning sense detail details
please thanks thank welcome sorry sure okay yes well oh hmm curious wondering wonder confused lost stuck happy interested kindly briefly exactly precisely possibly surely
what's that's it's there's here's who's let's I'm I've I'd don't doesn't didn't isn't aren't wasn't can't won't couldn't shouldn't you're we're they're
one two three four five ten hundred half whole lot bit back away off out up down once twice together alone`),
	chat: []string{"how are you", "what time is it", "who won the game yesterday", "how old is the {n}", "where can I buy a {n}", "sing me a song",
		"tell me a joke", "what is the weather like", "who wrote this {n}", "how do I cook {n}", "what is the capital of France", "how far is the moon",
		"can you draw a {n}", "what is two plus two", "when was the {n} invented", "who is the president", "why is the sky blue", "do you like {n}",
		"which {n} is the best", "how much does a {n} cost", "how many {n}s are there", "write a poem about a {n}", "translate good morning",
		"where is my {n}", "what color is a {n}", "who painted the {n}", "how tall is the {n}", "is the {n} alive", "what did you eat today",
		"what is your favorite {n}", "how do I fix my {n}", "when does the {n} open", "recommend a {n}", "what happened in the year 1969",
		"what is the speed of light", "who discovered the {n}", "can a {n} fly", "what is the largest {n}", "where do {n}s live", "how heavy is a {n}"},
	first: []string{"help", "help", "help", "help", "help", "help", "help me", "I need help", "can you help me", "how can you help", "how can you help me", "what can you do", "what can you do", "what can you do",
		"what can you tell me", "what do you do", "what do you know", "what can I ask", "what can I ask you", "what should I ask", "who are you", "who are you", "what are you", "hello", "hello", "hi", "hi", "hey",
		"hi there", "good morning", "tell me about yourself", "introduce yourself", "where do I start", "how do I start", "what are you good for", "what are you able to do", "what do I do here", "start"},
}

var chinese = grammar{
	lang: "zh",
	openers: []string{"", "", "", "", "请问", "你好，", "您好，", "那么", "那", "好的，", "我想知道", "想问一下，", "麻烦问下，", "在Triarch里，", "在这个系统中，", "不好意思，",
		"另外，", "还有，", "接下来，", "打扰一下，", "我是新手，", "老师问我，", "关于{n}的事以后再说，", "同事问，", "看完{n}以后，", "我的{n}说，", "刚才说到{n}，现在问，", "早上好，", "请教一下，", "对了，",
		"快速问一下，", "为了我的{n}，"},
	frames: []string{"什么是{w}", "{w}是什么", "{w}是什么", "什么是{w}", "{w}是什么意思", "{w}的意思是什么", "{w}的定义", "{w}的定义是什么", "解释{w}", "解释一下{w}", "请解释{w}", "说说{w}", "说一下{w}是什么",
		"介绍{w}", "介绍一下{w}", "{w}指什么", "{w}指的是什么", "{w}怎么理解", "怎么理解{w}", "如何理解{w}", "能讲讲{w}吗", "能解释{w}吗", "告诉我{w}是什么", "给我讲{w}", "{w}", "{w}", "{w}这个词是什么意思",
		"{w}这个词怎么解释", "何谓{w}", "啥是{w}", "{w}是啥", "{w}到底是什么", "{w}究竟指什么", "你知道{w}吗", "我不懂{w}", "帮我理解{w}", "定义{w}", "请定义{w}", "{w}，是什么", "所谓{w}是什么", "{w}有什么含义", "{w}的含义",
		"{w}代表什么", "我看到{w}，这是什么", "{n}上写着{w}，这是什么意思", "有人提到{w}，那是什么", "{w}用来做什么", "{w}有什么用", "{w}是一种什么东西", "用一句话说明{w}", "简单说明{w}", "{w}应该怎么说明",
		"我忘了{w}是什么", "教我{w}这个词", "一个{w}是什么", "这里的{w}是什么", "描述{w}", "描述一下{w}", "大家说的{w}是什么", "我的{n}里有{w}，那是什么", "{w}算是什么", "讲一下{w}的概念", "{w}的概念是什么",
		"{n}旁边的人说到{w}，是指什么", "请说明{w}的意思", "Triarch把{w}叫做什么", "Triarch有{w}，那是什么", "对Triarch来说{w}是什么", "Triarch为什么有{w}", "关于{w}你知道什么", "谈谈{w}",
		"{x}{w}{x}", "{x}{w}{x}", "{x}{w}", "{w}{x}", "{x}{w}，{x}", "{x}，{x}{w}", "{x}{w}{x}？{x}", "{x}：{w}"},
	closers: []string{"", "", "", "", "", "呢", "啊", "呀", "，谢谢", "，请简单说", "，请用一句话", "，说简单点", "，我是初学者", "，快点", "，在这里", "，在Triarch中", "，为了{n}", "，朋友", "，拜托", "，麻烦了"},
	systems: []string{"你是一个有用的助手。", "请简短回答。", "你是Triarch的入门模型。", "请友好地回答。", "你帮助用户了解{n}。", "用一句话回答。", "你在和初学者说话。", "你是助手。", "用简单的话回答。", "你知道Triarch的词语。"},
	nouns: strings.Fields(`苹果 香蕉 桥梁 河流 高山 吉他 钢琴 厨房 窗户 花园 老虎 大象 兔子 医生 老师 农民 律师 飞行员 海洋 岛屿 沙漠 森林 行星 月亮 星星 火箭 自行车 火车 飞机 轮船 港口 城堡 国王 王后 骑士 龙 诗歌 小说 绘画
博物馆 剧院 相机 电池 工程师 医院 市场 面包 奶酪 黄油 咖啡 茶叶 糖 盐 胡椒 西红柿 土豆 洋葱 大蒜 鸡肉 鱼 冬天 夏天 春天 秋天 雪 雨 雷电 风 沙子 玻璃 银子 黄金 铁 铜 钻石 纸 铅笔 信件 邮票 钱包 外套 衬衫 鞋子 帽子 雨伞
地毯 椅子 沙发 蜡烛 镜子 钟表 日历 假期 生日 婚礼 足球 网球 象棋 马拉松 游泳 火山 地震 恐龙 化石 原子 分子 电子 磁铁 引力 三角形 圆形 代数 语法 句子 词典 图书馆 报纸 收音机 电视 电话 电脑 键盘 屏幕 打印机 机器人 邮件
网站 银行 税收 法律 选举 总统 村庄 城市 国家 护照 酒店 餐馆 菜单 汤 沙拉 甜点 饼干 蛋糕 柠檬 橙子 葡萄 樱桃 西瓜 狼 狐狸 熊 老鹰 麻雀 蜜蜂 蜘蛛 蛇 青蛙 乌龟 鲸鱼 海豚 牛 马 羊 猪 鸭子 小麦 大米 玉米 棉花 羊毛 丝绸 气球 风筝 鼓 笛子
梯子 锤子 水桶 绳子 篮子 塔 隧道 湖 池塘 山洞 手机 空调 冰箱 围巾 眼镜 耳机 公园 学校 地铁 出租车 邻居 孩子 祖父`),
	noise: strings.Fields(`我 你 他 她 我们 你们 他们 大家 有人 别人 自己 这个 那个 这些 那些 哪个 什么 怎么 怎样 如何 为什么 多少 几个 一些 一点 一下 一种 所有 每个 其他 不 没有 别 很 太 更 最 非常
比较 有点 真的 其实 也许 可能 大概 应该 可以 能 能够 会 要 想 想要 希望 需要 必须 愿意 喜欢 觉得 认为 以为 知道 明白 懂 了解 理解 记得 忘记 提醒 听 听到 听说 看 看见 看到 读 写 说 讲 谈 问 问起 回答 告诉 解释 说明 概括
总结 介绍 描述 定义 意思 含义 概念 东西 事情 地方 时候 今天 明天 昨天 现在 刚才 以后 以前 已经 还 还是 又 再 就 才 都 也 只 和 跟 与 或者 但是 可是 因为 所以 如果 假如 虽然 然后 那么 关于 对于 根据 按照 通过 为了 在 从
到 向 把 被 让 给 用 上 下 里 外 前 后 中 旁边 老板 同事 朋友 老师 学生 经理 客户 人 人们 时间 问题 例子 句话 词 名字 简单 详细 清楚 准确 快 慢 大 小 多 少 好 坏 新 旧 对 错 请 麻烦 谢谢 帮 帮我 您 吧 吗 呢 啊 嘛 是 有 来
去 做 弄 找 指 算 叫 叫做 看看 想想 说说 到底 究竟 怎么回事 来着`),
	chat: []string{"你好吗", "现在几点", "昨天谁赢了比赛", "{n}多少钱", "哪里可以买{n}", "唱首歌", "讲个笑话", "今天天气怎么样", "谁写了这本{n}", "怎么做{n}", "法国的首都是哪里", "月球有多远", "画一个{n}", "二加二等于几",
		"{n}是什么时候发明的", "谁是总统", "天空为什么是蓝的", "你喜欢{n}吗", "哪种{n}最好", "有多少{n}", "写一首关于{n}的诗", "早上好怎么翻译", "我的{n}在哪里", "{n}是什么颜色", "谁画了{n}", "{n}有多高", "{n}会飞吗", "你今天吃了什么",
		"你最喜欢的{n}是什么", "怎么修我的{n}", "推荐一个{n}", "光速是多少", "谁发现了{n}", "最大的{n}在哪里", "{n}住在哪里", "{n}有多重"},
	first: []string{"帮助", "帮助", "帮助", "帮助", "帮助", "帮帮我", "我需要帮助", "能帮我吗", "你能帮我什么", "你能做什么", "你能做什么", "你能做什么", "你会什么", "你会做什么", "你知道什么", "你可以做什么", "我可以问什么", "我该问什么",
		"你是谁", "你是谁", "你是什么", "你好", "你好", "您好", "嗨", "早上好", "介绍一下你自己", "自我介绍一下", "从哪里开始", "怎么开始", "你有什么用", "你有什么能力", "这里能做什么", "开始"},
}

func grammarOf(lang string) *grammar {
	if lang == "zh" {
		return &chinese
	}
	return &english
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// ask draws a question about word.
func (g *grammar) ask(r *rand.Rand, lang, word string) string {
	q := pick(r, g.openers) + pick(r, g.frames) + pick(r, g.closers)
	return finish(r, lang, g.fill(r, q, lang, word))
}

// wander draws a question about no word of Triarch: an everyday or made-up word in the usual phrasings, or
// small talk.
func (g *grammar) wander(r *rand.Rand, lang string) string {
	switch n := r.IntN(20); {
	case n < 6:
		return g.ask(r, lang, pick(r, g.nouns))
	case n < 11:
		return g.ask(r, lang, madeUp(r, lang))
	case n < 13:
		return finish(r, lang, g.babble(r)+g.space+g.babble(r))
	}
	return finish(r, lang, g.fill(r, pick(r, g.openers)+pick(r, g.chat)+pick(r, g.closers), lang, ""))
}

// begin draws what somebody says who does not know yet what to ask, mostly bare.
func (g *grammar) begin(r *rand.Rand, lang string) string {
	q := pick(r, g.first)
	if r.IntN(3) == 0 {
		q = g.fill(r, pick(r, g.openers)+q+pick(r, g.closers), lang, "")
	}
	return finish(r, lang, q)
}

// fill puts article, word and fillers into a phrasing.
func (g *grammar) fill(r *rand.Rand, q, lang, word string) string {
	if lang == "en" {
		q = strings.ReplaceAll(q, "{a}", article(r, word))
	}
	q = strings.ReplaceAll(q, "{w}", word)
	for strings.Contains(q, "{n}") {
		q = strings.Replace(q, "{n}", pick(r, g.nouns), 1)
	}
	for strings.Contains(q, "{x}") {
		q = strings.Replace(q, "{x}", g.babble(r), 1)
	}
	return q
}

// babble strings one to five everyday words together, now and then a made-up one.
func (g *grammar) babble(r *rand.Rand) string {
	words := make([]string, 1+r.IntN(5))
	for i := range words {
		switch r.IntN(10) {
		case 0:
			words[i] = pick(r, g.nouns)
		case 1:
			words[i] = madeUp(r, g.lang)
		default:
			words[i] = pick(r, g.noise)
		}
	}
	return strings.Join(words, g.space)
}

func article(r *rand.Rand, word string) string {
	switch r.IntN(6) {
	case 0:
		return "the "
	case 1:
		return ""
	}
	if word != "" && strings.ContainsRune("aeioAEIO", rune(word[0])) {
		return "an "
	}
	return "a "
}

// finish varies capitals, quotes and the end of a question.
func finish(r *rand.Rand, lang, q string) string {
	if lang == "zh" {
		return q + pick(r, []string{"？", "？", "？", "。", "", "", "?", "！"})
	}
	switch r.IntN(8) {
	case 0:
		q = strings.ToLower(q)
	case 1:
		q = strings.ToUpper(q)
	case 2, 3:
	default:
		q = strings.ToUpper(q[:1]) + q[1:]
	}
	return q + pick(r, []string{"?", "?", "?", "", "", ".", "!", " ?"})
}

// madeUp builds a word that exists in no dictionary, so that unknown spellings are met in training.
func madeUp(r *rand.Rand, lang string) string {
	if lang == "zh" {
		return string([]rune{pick(r, hanzi), pick(r, hanzi), pick(r, hanzi)}[:2+r.IntN(2)])
	}
	heads := strings.Fields("b c d f g h j k l m n p qu r s t v w x y z bl br ch cl cr dr fl fr gl gr ph pl pr sc sh sk sl sm sn sp st str sw th tr tw wh")
	hearts := strings.Fields("a e i o u a e i o u ai au ea ee ei ie oa oo ou oi ay ow")
	tails := strings.Fields("b ck d ff g k l ll m n ng nt p r rd rk s ss st t th x y er es ing ed ion al ic ous able ment ness ly ist")
	var b strings.Builder
	for range 1 + r.IntN(3) {
		b.WriteString(pick(r, heads) + pick(r, hearts))
		if r.IntN(3) == 0 {
			b.WriteString(pick(r, tails))
		}
	}
	b.WriteString(pick(r, tails))
	return b.String()
}

// hanzi are common Chinese characters for made-up words.
var hanzi = []rune("春夏秋冬东西南北山水火木金土日月星云风雨雪花草树鸟鱼虫马牛羊狗猫龙凤红黄蓝绿白黑青紫甜酸苦辣高低远近深浅轻重冷热干湿老少男女父母兄弟姐妹王李张刘陈杨赵周吴徐孙胡" +
	"医药针车船桥路门窗床桌椅书笔纸墨琴棋画诗歌舞戏球跑跳走飞坐站吃喝睡醒笑哭爱恨忙闲买卖送借还开关收放洗切煮炒烤饭面汤茶酒糖盐油米菜果瓜豆蛋肉衣裤鞋帽珠宝石玉铜铁" +
	"国省市县村街店院寺庙塔城墙宫殿江河湖海岛岸洲洋波浪沙漠草原森林田园季节岁年月周时分秒光电声色香味形影梦魂心脑手脚眼耳口鼻牙发皮骨血神仙鬼怪英雄战争和平幸福欢乐长城故乡")
