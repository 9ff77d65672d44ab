/* What the piece "digit" shows until its weights are fetched: written from vitedu.packDigit(), held to it by a test. */
"use strict";
vitedu.restDigit = {"probabilities":[0.01,0.004,0.006,0.915,0.013,0.007,0.008,0.005,0.006,0.028],"cls":"WpwE4/8QJkI80AkMtQEcGRACAb9SBQL/sd4LpTgBC7lIAB8ZJ/8BFzQXBAcXFwEpAUQ8AQoSFgIhCv8CBBIcBBsAAAL/AQAAcAoDADAAAAkxL1hFJ/8MQBwQGA0iPA0fFBUGGgUIKQgM/wIAGAQBAAEABgEEAg4EBBEV/wEcFBdwZ3+R375NlJ3/lcaGfj1l"};
