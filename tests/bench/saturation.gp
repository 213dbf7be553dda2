# SPDX-License-Identifier: MIT
# Draws the saturation curve: `gnuplot -e "table='FILE.csv'; picture='FILE.svg'" saturation.gp`.
set terminal svg size 720,440 dynamic background rgb "white" font "sans-serif,13"
set output picture
set datafile separator ","
set xlabel "active drivers (driver i is bound to VCPU i mod 4)"
set ylabel "events handled per million guest ticks"
set xrange [0.8:8.2]
set yrange [0:*]
set xtics 1
set grid ytics lc rgb "#dddddd"
set key left top
set border 3
set tics nomirror
# Routes that lie on each other stay visible: each has a mark of its own, and the later ones are drawn thinner.
array color[5] = ["#999999", "#d55e00", "#0072b2", "#e69f00", "#009e73"]
array mark[5] = [4, 6, 12, 2, 8]
of(route) = sprintf("< awk -F, '$1 == \"%s\"' %s", route, table)
plot for [i=1:5] of(word("ioapic vcpu0 multi follow native", i)) using 2:3 with linespoints \
	lw (4.0 - 0.5 * i) lc rgb color[i] pt mark[i] ps 1 title word("ioapic vcpu0 multi follow native", i)
