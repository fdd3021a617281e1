#pragma once

int twice() { return 2; }
