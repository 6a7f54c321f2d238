# SPDX-License-Identifier: MIT
# What a guest said (tests/lab/init) as one KTAP stream. Given: suites, those
# that were to run; fate, how the guest ended; end, a file with the last lines
# of its console; version, of its kernel.
function say(line) {
	out[++lines] = line
}

function test(passed, name, why) {
	if (!passed) {
		if (why != "")
			say("# " why)
		failed++
	}
	say((passed ? "ok " : "not ok ") ++n " " name)
}

function describe(rc, seconds) {
	if (seconds >= limit)
		return "not done after " limit " s"
	if (rc > 128)
		return "killed by signal " rc - 128
	return "exit " rc
}

BEGIN {
	say("# kernel " version)
	count = split(suites, left, " ")
}

/^LAB suite / {
	suite = $3
	ran[suite] = 1
	plan = -1
	seen = bad = nkernel = 0
	behind = ""
	over = 0
	next
}
/^LAB rc / {
	over = 1
	limit = $4
	why = ""
	if ($3 != 0 && $3 != 4 && !($3 == 1 && bad))
		why = describe($3, $5)
	if (plan < 0)
		why = why (why == "" ? "" : ", ") "no plan on its output"
	else if (plan != seen)
		why = why (why == "" ? "" : ", ") seen " of " plan " tests reported"
	test(why == "", suite ": it_ran_to_its_end", why)
	next
}
/^LAB left / {
	behind = behind "\n# " substr($0, 10)
	next
}
/^LAB kernel / {
	kernel[++nkernel] = substr($0, 12)
	next
}
/^LAB leak / {
	leak[++nleak] = substr($0, 10)
	next
}
/^LAB leaks looked/ {
	looked = 1
	next
}
/^LAB done / {
	test(behind == "", suite ": it_left_nothing_behind", substr(behind, 4))
	for (i = 1; i <= nkernel; i++)
		say("# " kernel[i])
	test(!nkernel, suite ": the_kernel_has_nothing_to_report", "")
	suite = ""
	next
}
/^LAB broken / {
	test(0, "lab: the_guest_is_whole", substr($0, 12))
	next
}
/^LAB stuck/ {
	fate = "a process of it could not be killed, " fate
	next
}
/^LAB end/ {
	ended = 1
	next
}
/^LAB / {
	next
}
# A suite's own output.
suite == "" || over {
	say("# " $0)
	next
}
/^1\.\.[0-9]+/ {
	if (plan < 0)
		plan = substr($1, 4) + 0
	next
}
/^(not )?ok [0-9]+/ {
	seen++
	passed = $1 == "ok"
	bad += !passed
	sub(/^(not )?ok [0-9]+ (- )?/, "")
	if (/# SKIP/)
		skipped++
	test(passed, suite ": " $0, "")
	next
}
/^KTAP version/ || /^# Totals/ || /^$/ {
	next
}
/^#/ {
	say($0)
	next
}
{
	say("# " $0)
}

END {
	if (!ended) {
		while ((getline line <end) > 0)
			say("# " line)
		if (suite != "")
			test(0, suite ": the_guest_lived", fate)
		else
			test(0, "lab: the_guest_lived", fate)
	}
	for (i = 1; i <= count; i++)
		if (!(left[i] in ran))
			test(0, left[i] ": it_ran_to_its_end", "the guest was gone before")
	if (looked) {
		for (i = 1; i <= nleak; i++)
			say("# " leak[i])
		test(!nleak, "lab: kmemleak_has_nothing_to_report", "")
	} else if (version ~ /slclab/) {
		test(0, "lab: kmemleak_has_nothing_to_report", "nobody looked")
	}
	print "KTAP version 1"
	print "1.." n
	for (i = 1; i <= lines; i++)
		print out[i]
	printf "# Totals: pass:%d fail:%d xfail:0 xpass:0 skip:%d error:0\n", n - failed - skipped, failed, skipped
	exit failed ? 1 : n == skipped ? 4 : 0
}
