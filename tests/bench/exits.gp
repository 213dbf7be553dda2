# SPDX-License-Identifier: MIT
# Draws exits per event: `gnuplot -e "table='FILE.csv'; picture='FILE.svg'" exits.gp`.
set terminal svg size 1080,560 dynamic background rgb "white" font "sans-serif,12"
set output picture
set datafile separator ","
set datafile missing ""
set ylabel "exits of the whole VM per event"
set yrange [0:4]
set style data histograms
set style histogram clustered gap 1.5
set style fill solid noborder
set xtics rotate by 40 right scale 0 font ",10"
set grid ytics lc rgb "#dddddd"
set border 3
set tics nomirror
set lmargin 22
set key autotitle columnhead
set key top left horizontal
array color[4] = ["#999999", "#e69f00", "#0072b2", "#009e73"]
plot for [i=3:6] table using i:xtic(2) lc rgb color[i - 2]
